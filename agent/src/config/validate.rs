//! Rules between keys. Each message says what to change.

use pyralog_service::tls::client::ClientTls;
use pyralog_service::without_password;

use super::problem::Problem;
use super::reader::Reader;
use super::types::{Config, Sync};
use super::units::format_size;

/// Under this cap the fixed needs of segments and connections leave no room for data.
const MIN_MEMORY: u64 = 2 << 20;

/// Hubs that an agent may know.
const MAX_HUBS: usize = 16;

/// Checks the rules between keys, adds to the problems of `reader`, and gives the warnings.
pub(super) fn settle(config: &mut Config, reader: &mut Reader) -> Vec<String> {
    let mut check = Check { reader, warnings: Vec::new() };
    check.storage(config);
    check.listeners(config);
    check.sync(config);
    check.rest(config);
    check.warnings
}

struct Check<'r> {
    reader: &'r mut Reader,
    warnings: Vec<String>,
}

impl Check<'_> {
    fn storage(&mut self, config: &Config) {
        let storage = &config.storage;
        if storage.max_memory < MIN_MEMORY {
            let asked = format_size(storage.max_memory);
            self.wrong("storage.max_memory", format!("{asked} is too small to hold data; give at least 2MiB"));
            return;
        }
        self.share("http.max_body", config.http.max_body, storage.max_memory, 4);
        self.share("mqtt.max_packet", config.mqtt.max_packet, storage.max_memory, 4);
        self.share("sync.max_batch", config.sync.max_batch, storage.max_memory, 4);
        let segment = storage.max_segment_bytes.unwrap_or(1 << 20);
        if !(64 << 10..=1 << 20).contains(&segment) {
            let asked = format_size(segment);
            self.wrong("storage.max_segment_bytes", format!("{asked} is out of range; it must be from 64KiB to 1MiB"));
        }
        if storage.segment_age.is_zero() {
            self.wrong("storage.segment_age", "0s would make a segment of every record; give at least 1s".into());
        }
    }

    /// One thing that lives inside the budget must leave room for the rest.
    fn share(&mut self, key: &str, bytes: u64, memory: u64, divisor: u64) {
        if bytes == 0 {
            self.wrong(key, "0 would refuse everything; give a size such as \"256KiB\"".into());
        } else if bytes > memory / divisor {
            let most = format_size(memory / divisor);
            let message = format!(
                "{} is over 1/{divisor} of storage.max_memory; give at most {most}, or raise storage.max_memory",
                format_size(bytes)
            );
            self.wrong(key, message);
        }
    }

    fn listeners(&mut self, config: &Config) {
        let (mqtt, http) = (&config.mqtt, &config.http);
        if mqtt.enabled && !mqtt.listen.ip().is_loopback() && mqtt.users.is_empty() && !mqtt.allow_anonymous {
            let message = format!(
                "{} can be reached from other machines and nobody needs a password; add [[mqtt.user]], \
                 listen on 127.0.0.1, or set mqtt.allow_anonymous = true",
                mqtt.listen
            );
            self.wrong("mqtt.listen", message);
        }
        if !http.listen.ip().is_loopback() && http.tokens.is_empty() && !http.allow_anonymous {
            let message = format!(
                "{} can be reached from other machines and nobody needs a token; set http.token_file, \
                 listen on 127.0.0.1, or set http.allow_anonymous = true",
                http.listen
            );
            self.wrong("http.listen", message);
        }
        if mqtt.enabled && mqtt.listen == http.listen && http.listen.port() != 0 {
            let message = format!("{} is also mqtt.listen; give each its own port", http.listen);
            self.wrong("http.listen", message);
        }
        for (name, listen, secrets, tls) in [
            ("mqtt", mqtt.listen, !mqtt.users.is_empty(), mqtt.tls.is_some()),
            ("http", http.listen, !http.tokens.is_empty(), http.tls.is_some()),
        ] {
            if secrets && !tls && !listen.ip().is_loopback() {
                self.warnings.push(format!(
                    "{name}.listen is {listen} without TLS: passwords cross the network in the clear; set {name}.tls_cert and {name}.tls_key"
                ));
            }
        }
    }

    fn sync(&mut self, config: &Config) {
        let sync = &config.sync;
        if sync.upstream.is_empty() {
            if sync.token_file.is_some() {
                self.warnings.push("sync.token_file is set and sync.upstream is not: nothing is sent".to_owned());
            }
            return;
        }
        if sync.upstream.len() > MAX_HUBS {
            let message = format!("it names {} hubs; {MAX_HUBS} are enough", sync.upstream.len());
            self.wrong("sync.upstream", message);
        }
        for (index, upstream) in sync.upstream.iter().enumerate() {
            if sync.upstream.iter().take(index).any(|other| other == upstream) {
                self.wrong("sync.upstream", format!("\"{}\" is there twice", without_password(upstream)));
            }
            self.upstream(sync, upstream);
        }
        let plain = |url: &String| url.starts_with("http://");
        if sync.upstream.iter().all(plain) && sync.tls != ClientTls::default() {
            let shown: Vec<_> = sync.upstream.iter().map(|url| without_password(url)).collect();
            let shown = shown.join(", ");
            let message = format!("{shown} is plain HTTP, and ca_file, cert_file and key_file are for https:// alone");
            self.wrong("sync.upstream", message);
        }
        let id = config.agent_id.as_str();
        if sync.tls.identity.is_some() && rustls_pki_types::DnsName::try_from(id).is_err() {
            self.warnings.push(format!(
                "sync.cert_file is set and agent_id \"{id}\" is no DNS name: no certificate can carry it, and a hub that \
                 knows agents by certificates will refuse it; choose another agent_id"
            ));
        }
        if sync.interval.is_zero() {
            self.wrong("sync.interval", "0s would never rest; give at least \"1s\"".into());
        }
        if sync.timeout.is_zero() {
            self.wrong("sync.timeout", "0s gives no answer a chance; give at least \"1s\"".into());
        }
    }

    fn upstream(&mut self, sync: &Sync, upstream: &str) {
        let shown = without_password(upstream);
        let url = reqwest::Url::parse(upstream).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(url) = url else {
            let message = format!("\"{shown}\" is not the URL of a hub; write http://host:7390 or https://host");
            return self.wrong("sync.upstream", message);
        };
        let host = url.host_str().unwrap_or_default();
        let local = host == "localhost"
            || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        let secret = sync.token_file.is_some() || url.password().is_some();
        if url.scheme() == "http" && secret && !local {
            let what = if sync.token_file.is_some() { "the token" } else { "the password" };
            self.warnings.push(format!(
                "SYNC IS NOT SECURE: sync.upstream is {shown}: {what} and all readings cross the network in the clear, and \
                 whoever sees the former can write as this agent; use https://"
            ));
        }
    }

    fn rest(&mut self, config: &Config) {
        for (key, duration) in
            [("http.header_timeout", config.http.header_timeout), ("http.body_timeout", config.http.body_timeout)]
        {
            if duration.is_zero() {
                self.wrong(key, "0s gives no client a chance; give at least \"1s\"".into());
            }
        }
        if config.log.level.parse::<tracing_subscriber::filter::Targets>().is_err() {
            let message = format!(
                "\"{}\" is not a level; write error, warn, info, debug or trace, or directives such as \
                 \"info,pyralog_agent::ingest=debug\"",
                config.log.level
            );
            self.wrong("log.level", message);
        }
    }

    fn wrong(&mut self, key: &str, message: String) {
        let place = self.reader.places.get(key).cloned();
        self.reader.problems.push(Problem { place, key: key.to_owned(), message });
    }
}
