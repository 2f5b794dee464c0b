//! A link to servers that can be as bad as a real one: it is slow, loses its connections, goes silent, loses the answers alone.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Result;
use crate::generate::Random;

const CHUNK: usize = 4 << 10;

/// After an answer was lost, its connection goes on to take what is sent for this long at most.
const DEAF_FOR: Duration = Duration::from_millis(300);

/// How the link is at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// As good as the machine.
    Clear,
    /// Each chunk of 4 KiB takes `latency` and up to `jitter` more, and its share of `rate` bytes a second.
    Slow {
        /// The least delay.
        latency: Duration,
        /// The most that is added to it.
        jitter: Duration,
        /// Bytes a second, each way.
        rate: u64,
    },
    /// Connections stay open, and nothing comes through: half-open, as behind a dead NAT.
    Stalled,
    /// A connection is reset after so many bytes, counted both ways.
    Cut(u64),
    /// What is sent arrives. Of what is answered, so many bytes of each connection do; then it is reset, if not at once.
    Deaf(u64),
    /// New connections are reset at once, and so are those that are open.
    Away,
}

/// The link of one client; dropping it ends it and all its connections.
#[derive(Debug)]
pub struct Proxy {
    /// The near end.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepts: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    servers: Vec<SocketAddr>,
    weather: watch::Sender<Weather>,
    /// Grows with each reset: a connection ends when it is not what it was at its beginning.
    resets: watch::Sender<u64>,
    random: Mutex<Random>,
}

impl Proxy {
    /// A link to `servers`: each connection goes to one of them.
    ///
    /// # Errors
    /// When no address is free.
    pub async fn to(servers: Vec<SocketAddr>, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (weather, resets) = (watch::channel(Weather::Clear).0, watch::channel(0).0);
        let shared = Arc::new(Shared { servers, weather, resets, random: Mutex::new(Random::new(seed)) });
        let accepts = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepts })
    }

    /// Changes the weather, for open connections too.
    pub fn set(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
        if weather == Weather::Away {
            self.reset();
        }
    }

    /// Resets all connections that are open.
    pub fn reset(&self) {
        self.shared.resets.send_modify(|resets| *resets += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.reset();
        self.accepts.abort();
    }
}

impl Shared {
    fn random(&self) -> MutexGuard<'_, Random> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((near, _)) = listener.accept().await {
        tokio::spawn(connection(near, Arc::clone(&shared)));
    }
}

async fn connection(mut near: TcpStream, shared: Arc<Shared>) {
    let mut resets = shared.resets.subscribe();
    if *shared.weather.borrow() == Weather::Away {
        let _ = near.set_zero_linger();
        return;
    }
    let begin = shared.random().below(shared.servers.len().max(1) as u64) as usize;
    let order = shared.servers.iter().cycle().skip(begin).take(shared.servers.len());
    for server in order.copied().collect::<Vec<_>>() {
        let Ok(mut far) = TcpStream::connect(server).await else { continue };
        let (_, _) = (near.set_nodelay(true), far.set_nodelay(true));
        let passed = Mutex::new(Passed::default());
        let ((near_in, near_out), (far_in, far_out)) = (near.split(), far.split());
        let end = tokio::select! {
            end = pass(near_in, far_out, Way::There, &shared, &passed) => end,
            end = pass(far_in, near_out, Way::Back, &shared, &passed) => end,
            _ = resets.changed() => End::Reset,
        };
        if end == End::Reset {
            // Dropped, a socket then sends a reset instead of an orderly end.
            let (_, _) = (near.set_zero_linger(), far.set_zero_linger());
        }
        return;
    }
    let _ = near.set_zero_linger();
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// As one of the sides had it.
    Orderly,
    Reset,
}

/// Bytes of a connection so far.
#[derive(Debug, Default)]
struct Passed {
    both: u64,
    back: u64,
}

/// Passes bytes on until either side ends, or the connection is to be cut.
async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, way: Way, shared: &Shared, passed: &Mutex<Passed>) -> End {
    let mut weather = shared.weather.subscribe();
    let mut chunk = vec![0; CHUNK];
    while let Ok(read) = from.read(&mut chunk).await {
        if read == 0 {
            return End::Orderly;
        }
        if weather.wait_for(|weather| *weather != Weather::Stalled).await.is_err() {
            return End::Reset;
        }
        let now = *weather.borrow();
        let (total, back) = {
            let mut passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
            passed.both += read as u64;
            passed.back += if way == Way::Back { read as u64 } else { 0 };
            (passed.both, passed.back)
        };
        let mut through = read;
        match now {
            Weather::Cut(after) if total > after => return End::Reset,
            Weather::Deaf(after) if way == Way::Back && back > after => {
                through = read.saturating_sub((back - after) as usize);
            }
            Weather::Slow { latency, jitter, rate } => {
                let more = shared.random().below(jitter.as_micros() as u64 + 1);
                let share = Duration::from_secs_f64(read as f64 / rate.max(1) as f64);
                tokio::time::sleep(latency + Duration::from_micros(more) + share).await;
            }
            _ => {}
        }
        if to.write_all(chunk.get(..through).unwrap_or_default()).await.is_err() {
            return End::Orderly;
        }
        if through < read {
            // The other way stays open meanwhile: what is sent now arrives, too.
            let more = shared.random().below(DEAF_FOR.as_micros() as u64);
            tokio::time::sleep(Duration::from_micros(more)).await;
            return End::Reset;
        }
    }
    End::Reset
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_all(b"x").await?;
        let mut answer = [0];
        stream.read_exact(&mut answer).await?;
        Ok(answer[0])
    }

    #[tokio::test]
    async fn the_weather_is_what_it_is_set_to() {
        let proxy = Proxy::to(vec![echo().await], 1).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap(), b'x');
        proxy.set(Weather::Stalled);
        let pause = Duration::from_millis(100);
        assert!(tokio::time::timeout(pause, ask(&mut stream)).await.is_err());
        proxy.set(Weather::Clear);
        let mut late = [0];
        stream.read_exact(&mut late).await.unwrap();
        proxy.reset();
        assert!(ask(&mut stream).await.is_err());
        proxy.set(Weather::Away);
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert!(ask(&mut stream).await.is_err());
        proxy.set(Weather::Cut(3));
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert!(ask(&mut stream).await.is_ok() && ask(&mut stream).await.is_err());
        proxy.set(Weather::Clear);
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert!(ask(&mut stream).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_sent_to_the_deaf_arrives_and_the_answer_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::to(vec![listener.local_addr().unwrap()], 1).await.unwrap();
        proxy.set(Weather::Deaf(2));
        let mut near = TcpStream::connect(proxy.address).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        near.write_all(b"question").await.unwrap();
        let mut question = [0; 8];
        far.read_exact(&mut question).await.unwrap();
        assert_eq!(&question, b"question");
        far.write_all(b"answer").await.unwrap();
        let mut heard = Vec::new();
        assert!(near.read_to_end(&mut heard).await.is_err(), "an orderly end");
        assert_eq!(heard, b"an");
    }

    #[tokio::test]
    async fn an_orderly_end_stays_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::to(vec![listener.local_addr().unwrap()], 1).await.unwrap();
        let mut near = TcpStream::connect(proxy.address).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        far.write_all(b"answer").await.unwrap();
        drop(far);
        let mut heard = Vec::new();
        near.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"answer");
    }
}
