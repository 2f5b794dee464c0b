//! What a small agent takes: memory when idle, processors in a flood.
//!
//! Memory is asserted; times are printed, since a busy machine would make them anything. An emulator's figures say nothing of a board, so
//! these run where the agent runs without one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use pyralog_e2e::agent::Options;
use pyralog_e2e::process::{self, Process, free_address};
use pyralog_e2e::scenario::{HTTP_LOG, MQTT_LOG, route, send_http, send_mqtt};
use pyralog_e2e::{Result, generate, packets, wait};

/// Resident, in bytes, with nothing to do and every default: MQTT, HTTP and the host's own readings.
const IDLE: u64 = 6 << 20;
/// Records of a flood, by each way.
const FLOOD: usize = 200_000;
/// How long an idle agent is left alone, so that several readings of the host are among what it holds.
const IDLE_FOR: Duration = Duration::from_secs(15);

#[tokio::test]
#[ignore = "about an agent that is not built here: `cargo xtask test cross` builds it and runs this"]
async fn an_agent_idles_in_6_mib() -> Result<()> {
    if std::env::var_os(process::AGENT).is_none() {
        return Err(format!("{} does not name a small agent", process::AGENT).into());
    }
    let agent = start()?;
    first_ack(&agent)?;
    tokio::time::sleep(IDLE_FOR).await;
    let (now, peak) = (agent.process.resident()?, agent.process.peak_memory()?);
    println!("idle after {IDLE_FOR:?}: {:.2} MiB resident, at most {:.2}", mib(now), mib(peak));
    assert!(now <= IDLE, "{now} bytes are resident in an idle agent, {IDLE} are allowed");
    Ok(())
}

#[tokio::test]
#[ignore = "about an agent that is not built here: `cargo xtask test cross` builds it and runs this"]
async fn an_agent_says_what_a_flood_takes_of_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = generate::weather(5, FLOOD);
    let agent = Options::new("flooded").toml(&route(&data)).start(folder.path()).await?;
    let begun = agent.process.processor_time()?;
    send_http(&agent, &data, 0..FLOOD).await?;
    let by_http = agent.process.processor_time()? - begun;
    send_mqtt(&agent, &data, 0..FLOOD).await?;
    let by_mqtt = agent.process.processor_time()? - begun - by_http;
    for (how, log, took) in [("HTTP", HTTP_LOG, by_http), ("MQTT", MQTT_LOG, by_mqtt)] {
        assert_eq!(agent.log(log).await?.accepted, FLOOD as u64, "{how}");
        let each = took.as_secs_f64() * 1e6 / FLOOD as f64;
        println!("{FLOOD} records by {how}: {:.2} s of processors, {each:.2} µs each", took.as_secs_f64());
    }
    println!("at most {:.2} MiB resident", mib(agent.process.peak_memory()?));
    Ok(())
}

/// How long each of `count` agents took from its start to its first acknowledgement, the shortest time first.
pub fn first_acks(count: usize) -> Result<Vec<Duration>> {
    let mut times = (0..count).map(|_| first_ack(&start()?)).collect::<Result<Vec<_>>>()?;
    times.sort();
    Ok(times)
}

/// An agent that was started at `begun`.
struct Started {
    process: Process,
    mqtt: SocketAddr,
    begun: Instant,
}

fn start() -> Result<Started> {
    let (http, mqtt) = (free_address()?, free_address()?);
    let mut words = process::agent()?;
    let mut command = Command::new(words.remove(0));
    command.args(words).args(["serve", "--agent-id", "small", "--http-listen", &http.to_string()]);
    command.args(["--mqtt-listen", &mqtt.to_string()]);
    let begun = Instant::now();
    Ok(Started { process: Process::start("pyralog-agent", command)?, mqtt, begun })
}

/// Connects, publishes at QoS 1, and returns when the acknowledgement was there, counted from the start of the process.
fn first_ack(agent: &Started) -> Result<Duration> {
    let mut packets = packets::connect("sensor", true, 0);
    packets::publish(&mut packets, 1, 1, "plant/climate", b"{\"temp\": 21.5}");
    let mut stream = loop {
        match TcpStream::connect(agent.mqtt) {
            Ok(stream) => break stream,
            Err(error) if agent.begun.elapsed() > wait::LONG => {
                return Err(format!("{error}; it said:\n{}", agent.process.said()).into());
            }
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    };
    stream.set_read_timeout(Some(wait::LONG))?;
    stream.write_all(&packets)?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    let took = agent.begun.elapsed();
    assert_eq!(answer, *b"\x20\x02\x00\x00\x40\x02\x00\x01", "CONNACK and PUBACK");
    Ok(took)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
