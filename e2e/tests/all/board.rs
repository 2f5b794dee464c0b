//! A board's agent under its emulator, with a hub of this machine. `cargo xtask cross TARGET --test` builds the one, runs these, and says
//! by the environment which program they are about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyralog_e2e::agent::Options;
use pyralog_e2e::dataset::Dataset;
use pyralog_e2e::hub::Hub;
use pyralog_e2e::scenario::{HTTP_LOG, MQTT_LOG, crash, overflow, route, send_http, send_mqtt};
use pyralog_e2e::{Result, generate, process};
use pyralog_sync_protocol::entry::{Entry, Tip};

use crate::pki::Authority;
use crate::{small, tls};

const AGENT: &str = "board-17";
/// An emulated processor is slower by a factor of ten or more, and shares this one.
const LIMIT: Duration = Duration::from_secs(180);

/// Starts whose times are told.
const STARTS: usize = 11;

/// What was committed at each place, but for the clock of the hub: the frame as it was received, and the cursor and hash after it.
type Stored = BTreeMap<PathBuf, (Tip, Vec<u8>)>;

#[tokio::test]
#[ignore = "about an agent that is not built here: `cargo xtask test cross emulated` builds it and runs this"]
async fn a_boards_agent_ships_over_tls_byte_for_byte_what_this_machines_does() -> Result<()> {
    board()?;
    let data = generate::weather(7, 4_000);
    // Both encodings: the second is where a 32-bit Arrow once wrote other bytes, and where zstd has the most to do.
    for encoding in ["packed", "arrow-zstd"] {
        let of_board = shipped(&data, encoding, |board| board).await?;
        let of_this = shipped(&data, encoding, Options::native).await?;
        assert!(of_board.len() >= 2 * 4_000 / 512, "{} segments", of_board.len());
        assert_eq!(of_board.keys().collect::<Vec<_>>(), of_this.keys().collect::<Vec<_>>());
        for (place, (tip, frame)) in &of_board {
            let (other_tip, other) = &of_this[place];
            assert!(
                frame == other,
                "{encoding}: {} differs: {} and {} bytes",
                place.display(),
                frame.len(),
                other.len()
            );
            assert_eq!(tip, other_tip, "{encoding}: {}", place.display());
        }
        let bytes: usize = of_board.values().map(|(_, frame)| frame.len()).sum();
        println!("{encoding}: {} segments, {bytes} bytes in frames, equal", of_board.len());
    }
    Ok(())
}

#[tokio::test]
#[ignore = "about an agent that is not built here: `cargo xtask test cross emulated` builds it and runs this"]
async fn what_a_boards_small_ring_loses_is_receipted_to_the_record() -> Result<()> {
    board()?;
    let folder = tempfile::tempdir()?;
    // What an emulator holds resident is none of the agent's. Half as many rounds would fit into the ring once packed.
    let size = overflow::Size { max_memory: "4MiB", max_resident: u64::MAX, rounds: 10, limit: LIMIT };
    println!("{}", overflow::run(folder.path(), &generate::weather(2, 20_000), &size).await?);
    Ok(())
}

#[tokio::test]
#[ignore = "about an agent that is not built here: `cargo xtask test cross emulated` builds it and runs this"]
async fn a_boards_agent_killed_while_it_drains_comes_back_as_a_new_epoch() -> Result<()> {
    board()?;
    let folder = tempfile::tempdir()?;
    println!("{}", crash::run(folder.path(), &generate::weather(3, 20_000), LIMIT).await?);
    Ok(())
}

#[tokio::test]
#[ignore = "about an agent that is not built here: `cargo xtask test cross emulated` builds it and runs this"]
async fn a_boards_agent_says_how_soon_it_took_its_first_message() -> Result<()> {
    board()?;
    let times = small::first_acks(STARTS)?;
    let (first, middle, last) = (times[0], times[STARTS / 2], times[STARTS - 1]);
    println!("first ack after exec: median {middle:.1?}, of {STARTS} from {first:.1?} to {last:.1?}");
    Ok(())
}

/// Without it these would test this machine's agent once more, and look as if they had tested a board's.
fn board() -> Result<()> {
    if std::env::var_os(process::AGENT).is_none() {
        return Err(
            format!("{} does not name a board's agent; run cargo xtask cross TARGET --test", process::AGENT).into()
        );
    }
    Ok(())
}

/// What a hub stores of `data`, sent by HTTP and MQTT while the hub is away, so that segments end where they are full.
async fn shipped(data: &Dataset, encoding: &str, which: impl FnOnce(Options) -> Options) -> Result<Stored> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "authority")?;
    let mut hub = tls::absent_hub(folder.path(), &authority, "required")?;
    let device = authority.sign("device", &[AGENT])?;
    let options = tls::options(AGENT, &hub, &authority, &device).set("storage.segment_rows", "512");
    let options = options.set("storage.encoding", encoding).toml(&route(data));
    let agent = which(options).start(folder.path()).await?;
    let rows = data.rows.len();
    send_http(&agent, data, 0..rows).await?;
    send_mqtt(&agent, data, 0..rows).await?;
    hub.up().await?;
    for log in [HTTP_LOG, MQTT_LOG] {
        let account = agent.drained(log, LIMIT).await?;
        assert_eq!((account.accepted, account.committed), (rows as u64, rows as u64), "{log}");
        hub.records(AGENT, log).await?.equals(data, 0)?;
    }
    hub.verify()?;
    stored(&hub)
}

fn stored(hub: &Hub) -> Result<Stored> {
    let root = hub.store.join("agents").join(AGENT).join("logs");
    let mut stored = Stored::new();
    for path in files(&root)? {
        let bytes = std::fs::read(&path)?;
        let (bytes, _seal) = bytes.split_last_chunk::<8>().ok_or("an object without a seal")?;
        // Notes of schemas are in names alone.
        if bytes.is_empty() {
            continue;
        }
        let entry = Entry::decode(bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        stored.insert(path.strip_prefix(&root)?.to_owned(), (entry.tip, entry.frame.to_vec()));
    }
    Ok(stored)
}

fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut folders, mut files) = (vec![root.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(folder)? {
            let path = item?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    Ok(files)
}
