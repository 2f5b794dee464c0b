//! Against a real mosquitto, which `cargo xtask test` installs.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::*;

/// A broker on a free port of the loopback interface; it ends with the test.
struct Broker {
    port: u16,
    extra: String,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Broker {
    fn start(extra: impl FnOnce(&Path) -> String) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let extra = extra(dir.path());
        let mut broker = Self { port, extra, dir, child: None };
        broker.run();
        broker
    }

    fn open() -> Self {
        Self::start(|_| "allow_anonymous true\n".to_owned())
    }

    fn run(&mut self) {
        let config = self.dir.path().join("mosquitto.conf");
        // Started as root, mosquitto would give its rights away and then not read the test's files.
        std::fs::write(&config, format!("user root\nlistener {} 127.0.0.1\n{}", self.port, self.extra)).unwrap();
        let start = |program: &str| {
            Command::new(program).arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        };
        let child = start("mosquitto").or_else(|_| start("/usr/sbin/mosquitto"));
        self.child = Some(child.expect("mosquitto is needed: apt install mosquitto mosquitto-clients"));
        for _ in 0..600 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("mosquitto does not listen");
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn publish(&self, topic: &str, message: &str, extra: &[&str]) {
        let port = self.port.to_string();
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic, "-m", message];
        let status = Command::new("mosquitto_pub").args(arguments).args(extra).status().unwrap();
        assert!(status.success());
    }

    fn spec(&self) -> SubscribeSpec {
        SubscribeSpec {
            url: format!("mqtt://127.0.0.1:{}", self.port),
            topics: vec!["plant/#".into(), "one/+".into()],
            client_id: Some("agent".into()),
            ..SubscribeSpec::default()
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Keeps what it is given, unless it is told to be full.
#[derive(Default)]
struct Shelf {
    full: AtomicBool,
    messages: Mutex<Vec<(String, String)>>,
}

impl PublishSink for Shelf {
    fn publish(&self, topic: &str, payload: &[u8], _: &mut Records) -> Result<(), PublishError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(PublishError::Full);
        }
        self.messages.lock().push((topic.to_owned(), String::from_utf8_lossy(payload).into_owned()));
        Ok(())
    }
}

impl Shelf {
    fn texts(&self) -> Vec<String> {
        self.messages.lock().iter().map(|(_, text)| text.clone()).collect()
    }
}

/// A running subscriber.
struct Running {
    shelf: Arc<Shelf>,
    status: Arc<SubscriberStatus>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(spec: &SubscribeSpec, shelf: Arc<Shelf>) -> Self {
        let config = SubscriberConfig::new(spec, "test").unwrap();
        let subscriber = Subscriber::new(config, Arc::clone(&shelf) as Arc<dyn PublishSink>);
        let status = subscriber.status();
        let (stop, stopped) = watch::channel(false);
        Self { shelf, status, stop, task: tokio::spawn(subscriber.run(stopped)) }
    }

    async fn connected(&self, times: u64) {
        let what = || format!("{times} connections: {:?}", self.status.snapshot());
        until(what, || self.status.snapshot().subscriptions >= times).await;
    }

    async fn has(&self, texts: &[&str]) {
        until(|| format!("{texts:?}, not {:?}", self.shelf.texts()), || self.shelf.texts() == texts).await;
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(30), self.task).await.unwrap().unwrap();
    }
}

async fn until(what: impl Fn() -> String, mut done: impl FnMut() -> bool) {
    for _ in 0..1_200 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never came: {}", what());
}

#[tokio::test]
async fn messages_arrive_before_and_after_a_restart_of_the_broker() {
    let mut broker = Broker::open();
    let running = Running::start(&broker.spec(), Arc::default());
    running.connected(1).await;
    broker.publish("plant/a/climate", "1", &[]);
    broker.publish("elsewhere", "never", &[]);
    broker.publish("one/level", "2", &[]);
    running.has(&["1", "2"]).await;
    broker.kill();
    until(|| "the loss".to_owned(), || !running.status.snapshot().connected).await;
    assert!(running.status.snapshot().last_error.is_some());
    broker.run();
    running.connected(2).await;
    broker.publish("plant/b", "3", &[]);
    running.has(&["1", "2", "3"]).await;
    assert_eq!(running.status.snapshot().last_error, None);
    running.stop().await;
}

#[tokio::test]
async fn what_was_not_stored_is_not_acknowledged_and_comes_again() {
    let broker = Broker::open();
    let shelf = Arc::new(Shelf::default());
    let running = Running::start(&broker.spec(), Arc::clone(&shelf));
    running.connected(1).await;
    broker.publish("plant/a", "stored", &[]);
    running.has(&["stored"]).await;
    shelf.full.store(true, Ordering::SeqCst);
    broker.publish("plant/a", "1", &[]);
    broker.publish("plant/a", "2", &[]);
    until(|| "full".to_owned(), || running.status.snapshot().last_error.is_some()).await;
    running.stop().await;
    assert_eq!(shelf.texts(), ["stored"]);

    // The same session, another life of the agent.
    let running = Running::start(&broker.spec(), Arc::default());
    broker.publish("plant/a", "3", &[]);
    running.has(&["1", "2", "3"]).await;
    running.stop().await;
}

#[tokio::test]
async fn messages_wait_in_order_while_the_ring_is_full() {
    let broker = Broker::open();
    let shelf = Arc::new(Shelf::default());
    let running = Running::start(&broker.spec(), Arc::clone(&shelf));
    running.connected(1).await;
    shelf.full.store(true, Ordering::SeqCst);
    for n in 0..5 {
        broker.publish("plant/a", &n.to_string(), &[]);
    }
    until(|| "full".to_owned(), || running.status.snapshot().last_error.is_some()).await;
    shelf.full.store(false, Ordering::SeqCst);
    running.has(&["0", "1", "2", "3", "4"]).await;
    assert_eq!(running.status.snapshot().last_error, None);
    running.stop().await;
}

#[tokio::test]
async fn a_thousand_messages_are_each_stored_once() {
    let broker = Broker::open();
    let running = Running::start(&broker.spec(), Arc::default());
    running.connected(1).await;
    let lines: String = (0..1_000).map(|n| format!("{n}\n")).collect();
    let file = broker.dir.path().join("lines");
    std::fs::write(&file, &lines).unwrap();
    let port = broker.port.to_string();
    let status = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "plant/x", "-l"])
        .stdin(std::fs::File::open(&file).unwrap())
        .status();
    assert!(status.unwrap().success());
    until(|| format!("{:?}", running.status.snapshot()), || running.shelf.messages.lock().len() >= 1_000).await;
    assert_eq!(running.shelf.texts().join("\n") + "\n", lines);
    running.stop().await;
}

#[tokio::test]
async fn a_password_is_read_from_its_file_and_a_wrong_one_is_named() {
    let broker = Broker::start(|dir| {
        let file = dir.join("passwords");
        let made = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&file).args(["bob", "s@fe"]).output();
        assert!(made.unwrap().status.success());
        format!("password_file {}\n", file.display())
    });
    let secret = broker.dir.path().join("secret");
    std::fs::write(&secret, "wrong\n").unwrap();
    let spec = SubscribeSpec { username: Some("bob".into()), password_file: Some(secret.clone()), ..broker.spec() };
    let running = Running::start(&spec, Arc::default());
    let named = |error: &String| error.contains("password_file");
    until(|| "the refusal".to_owned(), || running.status.snapshot().last_error.as_ref().is_some_and(named)).await;
    running.stop().await;

    std::fs::write(&secret, "s@fe\n").unwrap();
    let running = Running::start(&spec, Arc::default());
    running.connected(1).await;
    broker.publish("plant/a", "1", &["-u", "bob", "-P", "s@fe"]);
    running.has(&["1"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_packet_over_the_limit_names_the_limit() {
    let broker = Broker::open();
    let spec = SubscribeSpec { max_packet: Some(1_000), ..broker.spec() };
    let running = Running::start(&spec, Arc::default());
    running.connected(1).await;
    broker.publish("plant/a", &"x".repeat(2_000), &[]);
    let named = |error: &String| error.contains("max_packet");
    until(
        || format!("{:?}", running.status.snapshot()),
        || running.status.snapshot().last_error.as_ref().is_some_and(named),
    )
    .await;
    running.stop().await;
}

#[tokio::test]
async fn tls_trusts_the_given_authority_and_no_other() {
    let broker = Broker::start(|dir| {
        let (key, certificate) = (dir.join("key.pem"), dir.join("cert.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl is needed: apt install openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        format!("allow_anonymous true\ncertfile {}\nkeyfile {}\n", certificate.display(), key.display())
    });
    let certificate = broker.dir.path().join("cert.pem");
    let url = format!("mqtts://127.0.0.1:{}", broker.port);
    let trusting = SubscribeSpec { url: url.clone(), ca_file: Some(certificate.clone()), ..broker.spec() };
    let running = Running::start(&trusting, Arc::default());
    running.connected(1).await;
    let authority = certificate.to_str().unwrap();
    broker.publish("plant/a", "1", &["--cafile", authority]);
    running.has(&["1"]).await;
    running.stop().await;

    // The system's authorities know nothing of it; a machine without any says so when it reads the configuration.
    if let Ok(config) = SubscriberConfig::new(&SubscribeSpec { url, ..broker.spec() }, "test") {
        let subscriber = Subscriber::new(config, Arc::new(Shelf::default()));
        let status = subscriber.status();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(subscriber.run(stopped));
        until(|| "the refusal".to_owned(), || status.snapshot().last_error.is_some()).await;
        assert_eq!(status.snapshot().subscriptions, 0);
        stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
    }
}
