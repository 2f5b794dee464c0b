//! An agent in this process, and a client for it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use pyralog_agent::app::App;
use pyralog_agent::config::{FlagValue, Sources, load};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

pub struct Agent {
    pub app: App,
    pub client: Client,
    pub url: String,
}

impl Agent {
    /// An agent with these keys set, ports of the system's choice and no readings of its own.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let base = [("http.listen", "127.0.0.1:0"), ("mqtt.listen", "127.0.0.1:0"), ("host.enabled", "false")];
        let flags = base.iter().chain(settings).map(|(key, value)| FlagValue {
            flag: format!("--set {key}"),
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        });
        let sources = Sources { flags: flags.collect(), ..Sources::default() };
        let app = App::start(load(&sources).unwrap().config).await.unwrap();
        let url = format!("http://{}", app.endpoints().http);
        let client = Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        Self { app, client, url }
    }

    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(self.at(path)).send().await.unwrap()
    }

    pub async fn text(&self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.text().await.unwrap()
    }

    pub async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    /// The records of a log.
    pub async fn records(&self, log: &str) -> Vec<Value> {
        let text = self.text(&format!("/v1/logs/{log}/records")).await;
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub async fn post(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        let request = self.client.post(self.at(path)).header("content-type", content_type).body(body);
        answer(request.send().await.unwrap()).await
    }

    pub async fn write(&self, lines: &str) -> (StatusCode, Value) {
        self.post("/write", "text/plain", lines.to_owned()).await
    }

    /// Sends bytes as they are and gives all that comes back until the agent closes the connection.
    pub async fn raw(&self, bytes: Vec<u8>) -> String {
        let address = self.app.endpoints().http;
        let talk = move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            // The agent may answer and close before it has read everything.
            let _ = stream.write_all(&bytes);
            let mut answer = Vec::new();
            if let Err(error) = stream.read_to_end(&mut answer) {
                assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the agent does not close the connection");
            }
            String::from_utf8_lossy(&answer).into_owned()
        };
        tokio::task::spawn_blocking(talk).await.unwrap()
    }
}

pub async fn answer(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let body = response.text().await.unwrap();
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}
