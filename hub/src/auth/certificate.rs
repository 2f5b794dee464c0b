//! Who a client is by its certificate.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, DnsName};
use webpki::EndEntityCert;

/// Names that are told when a certificate is refused; it may carry more.
const MAX_TOLD: usize = 8;

/// The agents that a client's certificate names. TLS has verified it against the configured authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    names: Arc<[Box<str>]>,
}

impl Certificate {
    /// The DNS names among the certificate's subject alternative names that can name an agent. One that cannot be read
    /// names nobody. A wildcard names nobody either: `*` is in no agent id.
    pub fn read(der: &CertificateDer<'_>) -> Self {
        let names = match EndEntityCert::try_from(der) {
            Ok(read) => read.valid_dns_names().filter(|name| super::is_agent_id(name)).map(Into::into).collect(),
            Err(_) => Arc::default(),
        };
        Self { names }
    }

    /// Whether it names this agent, to the letter: case counts, as it does in agent ids.
    pub fn names(&self, agent: &str) -> bool {
        self.names.iter().any(|name| **name == *agent)
    }

    /// Its names, for a message.
    pub(super) fn told(&self) -> String {
        let mut told = self.names.iter().take(MAX_TOLD).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        match self.names.len() {
            0 => told.push_str("no agent (it has no DNS name among its subject alternative names)"),
            more if more > MAX_TOLD => told.push_str(&format!(" and {} more", more - MAX_TOLD)),
            _ => {}
        }
        told
    }
}

/// Whether a certificate can name this agent: not every agent id is a DNS name.
pub(super) fn can_name(agent: &str) -> bool {
    DnsName::try_from(agent).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_names(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Certificate::read(rcgen::generate_simple_self_signed(names).unwrap().cert.der())
    }

    #[test]
    fn a_certificate_names_exactly_the_agents_of_its_dns_names() {
        let certificate = with_names(&["board-17", "Press_4.hall-2", "*.plant", "10.0.0.1"]);
        for (agent, named) in [
            ("board-17", true),
            ("Press_4.hall-2", true),
            ("press_4.hall-2", false),
            ("Board-17", false),
            ("board-1", false),
            ("board-17.", false),
            ("a.plant", false),
            ("*.plant", false),
            ("*", false),
            ("10.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(certificate.names(agent), named, "{agent}");
        }
        assert_eq!(certificate.told(), "\"board-17\", \"Press_4.hall-2\"");
    }

    #[test]
    fn what_cannot_be_read_names_nobody() {
        assert!(Certificate::read(&CertificateDer::from(vec![1, 2, 3])).told().starts_with("no agent"));
        assert!(with_names(&[]).told().starts_with("no agent"));
    }

    #[test]
    fn agent_ids_that_are_no_dns_names_are_known() {
        for good in ["board-17", "board_17", "_x", "a.b", "0x1.b", "Board"] {
            assert!(can_name(good), "{good}");
        }
        for bad in [".board", "a..b", "-a", "a-", "17", "a.17", &"x".repeat(64)] {
            assert!(!can_name(bad), "{bad}");
        }
    }
}
