//! File descriptors: as many as the system allows, and none of the listeners may take them all.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What all but connections may have open: listeners, timers, the hub, brokers, files of the host's readings.
const SPARE: usize = 48;

/// Connections that each listener may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connections {
    /// By MQTT.
    pub(crate) mqtt: usize,
    /// By HTTP.
    pub(crate) http: usize,
    /// By HTTP that wait for a place.
    pub(crate) waiting: usize,
    /// To the sidecar's sockets.
    pub(crate) sidecar: usize,
}

impl Connections {
    /// What of `wanted` this process can have, after it has raised its limit as far as it may. A limit that is too low is
    /// told in the log.
    pub(crate) fn within_limit(wanted: Self) -> Self {
        let limit = raise();
        let given = wanted.of(limit);
        if given != wanted {
            let Self { mqtt, http, .. } = given;
            tracing::warn!(
                "the system lets this process open {limit} files: at most {mqtt} connections by MQTT and {http} by HTTP are taken; \
                 raise the limit (ulimit -n, LimitNOFILE) for more"
            );
        }
        given
    }

    fn of(self, limit: usize) -> Self {
        let room = limit.saturating_sub(SPARE).max(8);
        if [self.http, self.waiting, self.sidecar].into_iter().fold(self.mqtt, usize::saturating_add) <= room {
            return self;
        }
        let sidecar = self.sidecar.min(room / 8);
        let room = room - sidecar;
        Self {
            mqtt: self.mqtt.min(room / 2),
            http: self.http.min(room / 4),
            waiting: self.waiting.min(room / 4),
            sidecar,
        }
    }
}

/// Raises the soft limit to the hard one; gives what holds then.
fn raise() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_a_low_limit_each_listener_keeps_its_part_and_under_one_that_is_enough_all_that_it_wants() {
        let wanted = Connections { mqtt: 10_000, http: 64, waiting: 128, sidecar: 0 };
        assert_eq!(wanted.of(10_240), wanted);
        assert_eq!(wanted.of(10_239), Connections { mqtt: 5_095, ..wanted });
        assert_eq!(wanted.of(256), Connections { mqtt: 104, http: 52, waiting: 52, sidecar: 0 });
        assert_eq!(wanted.of(0), Connections { mqtt: 4, http: 2, waiting: 2, sidecar: 0 });
        assert_eq!(wanted.of(usize::MAX), wanted);
        let with_firmware = Connections { sidecar: 16, ..wanted };
        assert_eq!(with_firmware.of(256), Connections { mqtt: 96, http: 48, waiting: 48, sidecar: 16 });
    }
}
