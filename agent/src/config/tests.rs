//! The configuration through its public door.

use std::io::Write;
use std::time::Duration;

use super::*;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn load_text(text: &str) -> Result<Loaded, ConfigError> {
    let file = file(text);
    load(&Sources { file: Some(file.path().to_owned()), ..Sources::default() })
}

fn complaint(text: &str) -> String {
    load_text(text).unwrap_err().to_string()
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn flag(flag: &str, key: &str, value: &str) -> FlagValue {
    FlagValue { flag: flag.into(), key: key.into(), value: value.into() }
}

#[test]
fn nothing_at_all_is_a_good_configuration() {
    let loaded = load(&Sources::default()).unwrap();
    assert_eq!(loaded.config.storage.max_memory, 64 << 20);
    assert_eq!(loaded.config.http.listen.to_string(), "127.0.0.1:7380");
    assert!(loaded.config.sync.upstream.is_empty());
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let file = file("[storage]\nmax_memory = \"8MiB\"\nsegment_rows = 10\nsegment_age = \"1m\"\n");
    let loaded = load(&Sources {
        file: Some(file.path().to_owned()),
        env: env(&[("PYRALOG_STORAGE__MAX_MEMORY", "16MiB"), ("PYRALOG_STORAGE__SEGMENT_ROWS", "20"), ("HOME", "/")]),
        flags: vec![flag("--max-memory", "storage.max_memory", "32MiB")],
    })
    .unwrap();
    let storage = &loaded.config.storage;
    assert_eq!((storage.max_memory, storage.segment_rows), (32 << 20, 20));
    assert_eq!(storage.segment_age, Duration::from_secs(60));
    assert_eq!(storage.max_logs, 1024);
    assert!(loaded.resolved.contains("max_memory = \"32MiB\"  # --max-memory"), "{}", loaded.resolved);
    assert!(loaded.resolved.contains("segment_rows = 20  # environment variable PYRALOG_STORAGE__SEGMENT_ROWS"));
    assert!(loaded.resolved.contains("max_logs = 1024  # default"));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_name() {
    let text = complaint("agent_id = \"a\"\n[storage]\nmax_memroy = \"8MiB\"\n");
    assert!(text.contains(".toml:3: storage.max_memroy: unknown key; did you mean `storage.max_memory`?"), "{text}");
}

#[test]
fn a_key_in_the_wrong_section_is_sent_to_the_right_one() {
    let text = complaint("max_memory = \"8MiB\"\n");
    assert!(text.contains("did you mean `storage.max_memory`?"), "{text}");
    let text = complaint("[mqqt]\nenabled = true\n");
    assert!(text.contains("mqqt: unknown key; did you mean `mqtt`?"), "{text}");
}

#[test]
fn all_problems_are_told_at_once() {
    let text = complaint(
        "[storage]\nmax_memory = \"lots\"\nsegment_rows = \"many\"\neviction_policy = \"fifi\"\n[http]\nlisten = \"here\"\n",
    );
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("write bytes with a unit"), "{text}");
    assert!(text.contains("must be a whole number from 1 to 65536, not a string"), "{text}");
    assert!(text.contains("did you mean \"fifo\"?"), "{text}");
    assert!(text.contains("write IP:PORT"), "{text}");
}

#[test]
fn a_listener_for_other_machines_needs_credentials_or_a_decision() {
    let text = complaint("[http]\nlisten = \"0.0.0.0:7380\"\n[mqtt]\nlisten = \"0.0.0.0:1883\"\n");
    assert!(text.contains("http.listen: 0.0.0.0:7380 can be reached from other machines"), "{text}");
    assert!(text.contains("set mqtt.allow_anonymous = true"), "{text}");
    for decided in [
        "[http]\nlisten = \"0.0.0.0:7380\"\nallow_anonymous = true\n",
        "[http]\nlisten = \"0.0.0.0:7380\"\ntokens = [\"t\"]\n",
        "[mqtt]\nlisten = \"0.0.0.0:1883\"\n[[mqtt.user]]\nname = \"a\"\npassword = \"b\"\n",
        "[mqtt]\nlisten = \"0.0.0.0:1883\"\nenabled = false\n",
    ] {
        load_text(decided).unwrap();
    }
}

#[test]
fn a_cap_too_small_for_data_or_for_its_parts_is_refused() {
    assert!(complaint("[storage]\nmax_memory = \"1MiB\"\n").contains("at least 2MiB"));
    let text = complaint("[storage]\nmax_memory = \"4MiB\"\n[http]\nmax_body = \"3MiB\"\n");
    assert!(text.contains("http.max_body: 3MiB is over 1/4 of storage.max_memory; give at most 1MiB"), "{text}");
    let loaded = load_text("[storage]\nmax_memory = \"4MiB\"\n").unwrap();
    assert_eq!(loaded.config.http.max_body, 1 << 20, "defaults follow the cap");
}

#[test]
fn a_token_file_that_cannot_be_read_is_met_at_the_start() {
    let text = complaint("[sync]\nupstream = \"http://localhost:7390\"\ntoken_file = \"/nonexistent/token\"\n");
    assert!(text.contains("sync.token_file: cannot read /nonexistent/token"), "{text}");
    assert!(text.contains("check the path and the permissions"), "{text}");
    let text = complaint("[http]\ntoken_file = \"/dev/null\"\n");
    assert!(text.contains("holds no token"), "{text}");
}

#[test]
fn secrets_are_never_shown() {
    let tokens = file("file-secret\n");
    let text = format!(
        "[http]\ntokens = [\"inline-secret\"]\ntoken_file = {:?}\n[[mqtt.user]]\nname = \"a\"\npassword = \"user-secret\"\n\
         [[mqtt.subscribe]]\nurl = \"mqtt://u:url-secret@h\"\ntopics = [\"a\"]\n",
        tokens.path().to_str().unwrap()
    );
    let loaded = load_text(&text).unwrap();
    assert_eq!(loaded.config.http.tokens.len(), 2);
    for shown in [loaded.resolved.clone(), format!("{:?}", loaded.config)] {
        assert!(!shown.contains("-secret"), "{shown}");
    }
    assert!(loaded.resolved.contains("tokens = [\"***\"]"), "{}", loaded.resolved);
}

#[test]
fn no_debug_output_holds_a_secret() {
    let text = "[http]\ntokens = [\"s3cret-a\"]\n[[mqtt.user]]\nname = \"u\"\npassword = \"s3cret-b\"\n\
                [[mqtt.subscribe]]\nurl = \"mqtt://u:s3cret-c@h\"\ntopics = [\"a\"]\n\
                [sync]\nupstream = \"https://u:s3cret-d@hub\"\n";
    let loaded = load_text(text).unwrap();
    let sources = Sources {
        file: None,
        env: env(&[("PYRALOG_HTTP__TOKENS", "s3cret-e")]),
        flags: vec![flag("--set", "http.tokens", "s3cret-f")],
    };
    let upstream = loaded.config.sync.upstream.clone();
    let agent = pyralog_sync_protocol::AgentId::new("a").unwrap();
    let sync = crate::sync::SyncConfig::new(upstream, agent);
    pyralog_service::tls::install_provider();
    let client = crate::sync::HubClient::all(&sync).unwrap();
    let shown = format!("{loaded:?} {sources:?} {sync:?} {client:?}");
    assert!(!shown.contains("s3cret") && shown.contains("u:***@hub"), "{shown}");
}

#[test]
fn the_resolved_configuration_is_toml_that_loads_to_the_same() {
    let loaded =
        load_text("[storage]\nmax_memory = \"8MiB\"\n[[mqtt.route]]\ntopic = \"a/{b}\"\nlog = \"c\"\n").unwrap();
    let again = load_text(&loaded.resolved).unwrap();
    assert_eq!(format!("{:?}", loaded.config), format!("{:?}", again.config));
}

#[test]
fn lists_can_come_from_flags_and_the_environment() {
    let loaded = load(&Sources {
        env: env(&[("PYRALOG_HTTP__TOKENS", "one, two")]),
        flags: vec![flag("--set mqtt.route", "mqtt.route", "[{ topic = \"a/#\", log = \"a\", tags = [\"x\"] }]")],
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(loaded.config.http.tokens.len(), 2);
    assert_eq!(loaded.config.mqtt.routes[0].tags, ["x"]);
}

#[test]
fn a_list_entry_without_its_required_key_is_named_with_its_line() {
    let text = complaint("[mqtt]\n\n[[mqtt.subscribe]]\ntopics = [\"a/#\"]\n");
    assert!(text.contains(".toml:3: mqtt.subscribe.url: this key is required here"), "{text}");
    let text = complaint("[[mqtt.route]]\ntopic = \"a/b+\"\nlog = \"a\"\n");
    assert!(text.contains(".toml:1: mqtt.route: topic level \"b+\""), "{text}");
}

#[test]
fn a_misspelt_variable_is_a_warning_and_other_programs_variables_are_left_alone() {
    let loaded = load(&Sources {
        env: env(&[("PYRALOG_STORAGE__MAX_MEMROY", "8MiB"), ("PYRALOG_URL", "http://x"), ("PATH", "/bin")]),
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("did you mean PYRALOG_STORAGE__MAX_MEMORY?"), "{:?}", loaded.warnings);
}

#[test]
fn tls_needs_both_files_and_a_token_in_the_clear_is_warned_about() {
    let cert = file("");
    let text = complaint(&format!("[http]\ntls_cert = {:?}\n", cert.path().to_str().unwrap()));
    assert!(text.contains("TLS needs both"), "{text}");
    let text =
        format!("[sync]\nupstream = \"http://hub.example.com\"\ntoken_file = {:?}\n", cert.path().to_str().unwrap());
    assert!(load_text(&text).unwrap().warnings[0].contains("use https"));
    let url = "[sync]\nupstream = \"http://agent:s3cret@hub.example.com\"\n";
    let warned = load_text(url).unwrap().warnings[0].clone();
    assert!(warned.contains("use https") && !warned.contains("s3cret"), "{warned}");
    assert!(load_text(&text.replace("hub.example.com", "127.0.0.1")).unwrap().warnings.is_empty());
}

#[test]
fn certificates_that_cannot_be_used_are_met_at_the_start() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let (cert, key, empty) = (format!("{data}/cert.pem"), format!("{data}/key.pem"), file("nothing"));
    let empty = empty.path().to_str().unwrap();
    let sync = |rest: &str| format!("[sync]\nupstream = \"https://hub\"\n{rest}");
    for (text, words) in [
        (format!("[http]\ntls_cert = {empty:?}\ntls_key = {key:?}\n"), "it holds no certificate"),
        (format!("[mqtt]\ntls_cert = {cert:?}\ntls_key = {cert:?}\n"), "the private key"),
        (sync(&format!("ca_file = {empty:?}\n")), "it holds no certificate"),
        (sync(&format!("cert_file = {cert:?}\n")), "sync.key_file: cert_file is set"),
        (sync(&format!("cert_file = {cert:?}\nkey_file = {empty:?}\n")), "the private key"),
        (sync(&format!("ca_fil = {cert:?}\n")), "did you mean `sync.ca_file`"),
        (format!("[sync]\nupstream = \"http://127.0.0.1\"\nca_file = {cert:?}\n"), "plain HTTP"),
    ] {
        let told = complaint(&text);
        assert!(told.contains(words), "{text}: {told}");
    }
    let good = sync(&format!("ca_file = {cert:?}\ncert_file = {cert:?}\nkey_file = {key:?}\n"));
    assert!(load_text(&format!("agent_id = \"board-17\"\n{good}")).unwrap().warnings.is_empty());
    assert!(load_text(&format!("agent_id = \"17\"\n{good}")).unwrap().warnings[0].contains("no DNS name"));
}

#[test]
fn one_hub_or_several_can_be_named_and_each_must_be_one() {
    let several = "[sync]\nupstream = [\"https://a\", \"https://u:s3cret@b\"]\nupstream_policy = \"round-robin\"\n";
    let loaded = load_text(several).unwrap();
    assert_eq!(loaded.config.sync.upstream, ["https://a", "https://u:s3cret@b"]);
    assert_eq!(loaded.config.sync.upstream_policy, crate::sync::UpstreamPolicy::RoundRobin);
    assert!(loaded.resolved.contains(r#"upstream = ["https://a", "https://u:***@b"]"#), "{}", loaded.resolved);
    let sources =
        Sources { file: None, env: env(&[("PYRALOG_SYNC__UPSTREAM", "http://a:1, http://b:2")]), flags: Vec::new() };
    assert_eq!(load(&sources).unwrap().config.sync.upstream, ["http://a:1", "http://b:2"]);
    let many: Vec<_> = (0..17).map(|hub| format!("\"http://h{hub}\"")).collect();
    for (upstream, words) in [
        ("[\"https://a\", \"b:7390\"]".to_owned(), "\"b:7390\" is not the URL of a hub"),
        ("[\"https://a\", \"https://a\"]".to_owned(), "there twice"),
        (format!("[{}]", many.join(", ")), "16 are enough"),
        ("[7]".to_owned(), "a URL or a list of URLs"),
    ] {
        let told = complaint(&format!("[sync]\nupstream = {upstream}\n"));
        assert!(told.contains(words), "{upstream}: {told}");
    }
    assert!(complaint("[sync]\nupstream_policy = \"robin\"\n").contains("failover"));
}

#[test]
fn the_sidecar_takes_one_place_or_several_and_names_what_is_wrong() {
    let one = load_text("[sidecar]\nlisten = \"unix:/run/a.sock\"\nmode = \"0600\"\n").unwrap();
    assert_eq!((one.config.sidecar.listen.len(), one.config.sidecar.mode), (1, 0o600));
    assert!(one.resolved.contains("listen = [\"unix:/run/a.sock\"]"), "{}", one.resolved);
    let two = flag("--set", "sidecar.listen", "unix:/run/a.sock, serial:/dev/ttyS1?baud=9600");
    let two = load(&Sources { flags: vec![two], ..Sources::default() }).unwrap();
    assert_eq!(two.config.sidecar.listen.len(), 2);
    for (line, words) in [
        ("listen = \"tcp:1\"", "neither a socket nor a serial line"),
        ("listen = [\"unix:/a\", \"unix:/a\"]", "is there twice"),
        ("listen = 7", "a string or a list of strings"),
        ("mode = \"rw\"", "in octal"),
        ("max_connections = 0", "from 1 to 256"),
        ("lisen = []", "did you mean `sidecar.listen`"),
    ] {
        let told = complaint(&format!("[sidecar]\n{line}\n"));
        assert!(told.contains(words), "{line}: {told}");
    }
}

#[test]
fn the_example_file_explains_every_key_and_is_a_good_configuration() {
    let text = include_str!("../../../examples/config/agent.toml");
    // Keys that a first configuration leaves out stand there commented; uncommented they must be good too.
    let full: String = text.lines().map(|line| format!("{}\n", line.strip_prefix("#= ").unwrap_or(line))).collect();
    let mut section = String::new();
    let mut explained = Vec::new();
    for line in full.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_start_matches('[').split(']').next().unwrap_or_default().to_owned();
            explained.push(section.clone());
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.starts_with('#')) {
            explained.push(if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") });
        }
    }
    for key in known_keys() {
        assert!(explained.contains(&key), "examples/config/agent.toml does not explain `{key}`");
    }
    for key in &explained {
        assert!(known_keys().contains(key), "examples/config/agent.toml explains `{key}`, which does not exist");
    }
    load_text(text).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let placeholder = dir.path().join("secret");
    std::fs::write(&placeholder, "secret\n").unwrap();
    let here = full.replace("/etc/pyralog/", &format!("{}/", dir.path().display()));
    for name in ["ca.pem", "cert.pem", "agent-cert.pem"] {
        std::fs::write(dir.path().join(name), include_str!("../../tests/data/cert.pem")).unwrap();
    }
    for name in ["key.pem", "agent-key.pem"] {
        std::fs::write(dir.path().join(name), include_str!("../../tests/data/key.pem")).unwrap();
    }
    for name in ["token", "tokens", "password"] {
        std::fs::copy(&placeholder, dir.path().join(name)).unwrap();
    }
    load_text(&here).unwrap();
}
