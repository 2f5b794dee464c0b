//! End-to-end tests of the real binaries. One program, so that it is linked once.

mod account;
mod bad_input;
mod bad_mqtt;
mod board;
mod bucket;
mod chaos;
mod clients;
mod clock;
mod cluster;
mod guessing;
mod hub_reload;
mod hub_trouble;
mod hubs;
mod lake;
mod lifecycle;
mod memory;
mod pki;
mod quickstart;
mod readme_tls;
mod retention;
mod secrets;
mod sidecar;
mod small;
mod strangers;
mod supervised;
mod tls;
