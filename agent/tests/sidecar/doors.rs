//! Sockets and serial lines: what is in the way, what goes away, and who gets no place.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;

use pyralog_agent::app::App;
use pyralog_agent::ingest::sidecar::Counter;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::support::{Firmware, accepted, agent, until};

/// A pseudo terminal: the end that stands for the device's wire, and the path of the other.
fn pty() -> (File, PathBuf) {
    let wire = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    fcntl_setfl(&wire, OFlags::RDWR | OFlags::NONBLOCK).unwrap();
    grantpt(&wire).unwrap();
    unlockpt(&wire).unwrap();
    let path = ptsname(&wire, Vec::new()).unwrap().into_string().unwrap().into();
    (File::from(wire), path)
}

/// What the status says of the only place that is listened to.
fn state(app: &App) -> (&'static str, Option<String>) {
    let view = app.status().status().sidecar.unwrap();
    let listen = view.listen.into_values().next().unwrap();
    (listen.state, listen.last_error)
}

#[tokio::test]
async fn a_serial_line_carries_every_byte_and_is_opened_again_when_the_device_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let device = folder.path().join("ttyUSB0");
    let app = agent(&format!("serial:{}?baud=9600", device.display()), &[]).await.unwrap();
    until("the missing device to be told of", || state(&app).1.is_some()).await;
    let (word, error) = state(&app);
    assert_eq!(word, "waiting");
    assert!(error.unwrap().contains("there is no such device; plug it in"), "the remedy");

    let mut expected = 0;
    for boot in 1..=2 {
        let (wire, path) = pty();
        let _ = std::fs::remove_file(&device);
        std::os::unix::fs::symlink(&path, &device).unwrap();
        until("the line to be open", || state(&app).0 == "open").await;
        let mut firmware = Firmware::new(wire, "meter", boot);
        for n in 0..40 {
            // Times since boot, numbers and text have all bytes in them that a terminal would interpret.
            firmware.reads(n * 0x0103_0d11_1305);
            firmware.turn();
        }
        firmware.hands_over().await;
        expected += firmware.producer.head() - firmware.producer.dropped();
        assert_eq!(accepted(&app, "vibration"), expected);
        drop(firmware);
        until("the loss of the device to be noticed", || state(&app).0 == "waiting").await;
    }
    assert_eq!(app.status().status().sidecar.unwrap().devices["meter"].boots, 2);
    app.stop().await;
}

#[tokio::test]
async fn a_file_that_is_no_serial_device_is_told_and_the_agent_runs_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "data").unwrap();
    let app = agent(&format!("serial:{}", file.display()), &[]).await.unwrap();
    until("it to be told", || state(&app).1.is_some()).await;
    let told = state(&app).1.unwrap();
    assert!(told.contains("cannot open it") && told.contains("no serial line"), "{told}");
    assert_eq!(std::fs::read(&file).unwrap(), b"data");
    app.stop().await;
}

#[tokio::test]
async fn a_socket_in_a_folder_that_is_not_there_is_an_error_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let error = agent(&format!("unix:{}/none/s.sock", folder.path().display()), &[]).await.err().unwrap().to_string();
    assert!(error.contains("sidecar.listen") && error.contains("create it"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_closed_and_those_before_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let app = agent(&format!("unix:{}", path.display()), &[("sidecar.max_connections", "2")]).await.unwrap();
    let mut devices = [Firmware::connect(&path, "a", 1), Firmware::connect(&path, "b", 1)];
    for device in &mut devices {
        device.runs_until("a welcome", |producer| producer.is_connected()).await;
    }
    let mut third = std::os::unix::net::UnixStream::connect(&path).unwrap();
    third.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    assert_eq!(third.read(&mut [0; 16]).unwrap(), 0, "closed");
    assert_eq!(app.status().sidecar.count(Counter::TurnedAway), 1);
    for device in &mut devices {
        device.reads(1);
        device.hands_over().await;
    }
    assert_eq!(accepted(&app, "vibration"), 2);
    app.stop().await;
}

#[tokio::test]
async fn garbage_is_counted_and_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let app = agent(&format!("unix:{}", path.display()), &[]).await.unwrap();
    let mut device = Firmware::connect(&path, "a", 1);
    for n in 0..20_u8 {
        device.link.write_all(&[n; 300]).unwrap();
        device.link.write_all(b"AT+CGMI\r\n").unwrap();
    }
    device.reads(1);
    device.hands_over().await;
    assert_eq!(accepted(&app, "vibration"), 1);
    assert!(app.status().sidecar.count(Counter::Damaged) > 0);
    app.stop().await;
}

#[tokio::test]
async fn an_agent_that_stops_gives_its_memory_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let app = agent(&format!("unix:{}", path.display()), &[]).await.unwrap();
    let before = app.ring().budget().used();
    let device = Firmware::connect(&path, "a", 1);
    until("the connection", || app.status().sidecar.links() == 1).await;
    assert!(app.ring().budget().used() > before);
    drop(device);
    until("the connection to be over", || app.status().sidecar.links() == 0).await;
    until("its memory", || app.ring().budget().used() == before).await;
    app.stop().await;
}
