//! What a new configuration can change while the agent runs: routes, and who may use the listeners.

use std::sync::Arc;

use super::settings::mqtt_access;
use super::{App, StartError};
use crate::config::Config;
use crate::http::Access;
use crate::ingest::intake::Intake;
use crate::ingest::mqtt::MqttEndpoint;
use crate::ingest::route::{RouteSpec, Routes};

/// Keys that [`App::reload`] takes over, and those below them; all others need a restart.
pub const RELOADABLE: [&str; 6] =
    ["mqtt.route", "mqtt.user", "mqtt.allow_anonymous", "http.tokens", "http.token_file", "http.allow_anonymous"];

/// The parts that hold it.
#[derive(Default)]
pub(super) struct Changeable {
    pub(super) intake: Option<Arc<Intake>>,
    pub(super) http: Option<Arc<Access>>,
    pub(super) mqtt: Option<MqttEndpoint>,
}

impl App {
    /// Goes by the routes, tokens and users of `new` from now on. The ring is not touched, and no connection ends: who is
    /// connected by MQTT stays until the connection ends, and each HTTP request is looked at by itself.
    ///
    /// # Errors
    /// When the routes are no good; then nothing has changed.
    pub fn reload(&self, new: &Config) -> Result<(), StartError> {
        let routes = routes(&new.mqtt.routes)?;
        let Changeable { intake, http, mqtt } = &self.changeable;
        if let Some(intake) = intake {
            intake.set_routes(routes);
        }
        if let Some(access) = http {
            access.set_tokens(&new.http.tokens);
        }
        if let Some(endpoint) = mqtt {
            endpoint.set_access(mqtt_access(&new.mqtt));
        }
        Ok(())
    }
}

/// Compiles routes.
pub(super) fn routes(specs: &[RouteSpec]) -> Result<Routes, StartError> {
    Routes::new(specs).map_err(|(index, error)| {
        let topic = specs.get(index).map_or("", |route| route.topic.as_str());
        StartError::Mqtt(format!("mqtt.route {} (\"{topic}\"): {error}", index + 1))
    })
}
