//! A whole agent seen through its HTTP door: real listener, real sockets, ports of the system's choice.

mod agent;
mod hostile;
mod read;
mod secure;
mod write;
