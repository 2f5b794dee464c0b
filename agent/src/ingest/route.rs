//! Routes: which log an MQTT topic goes to, how its payload is read, and which tags its levels become.
//!
//! The first route whose pattern matches wins. A level of a pattern is a plain word, `+` (any one level), `{name}` (any
//! one level, which becomes the tag `name`) or, at the end, `#` (any number of levels). As in MQTT a pattern that begins
//! with a wildcard does not match topics that begin with `$`.

use serde::Deserialize;

use super::decode::json::JsonOptions;
use super::decode::time::{TimeUnit, UnknownTimeUnit};
use super::decode::{Format, MAX_NAME, Target, UnknownFormat};

/// Captures in one pattern.
pub const MAX_CAPTURES: usize = 16;

/// The longest pattern or topic, in bytes, as MQTT has it.
pub const MAX_TOPIC: usize = 65_535;

/// A route as the configuration writes it (`[[mqtt.route]]`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// The pattern, such as `plant/{line}/+/climate`.
    pub topic: String,
    /// The log; may hold captures, as in `climate-{line}`. Line protocol may leave it out: the measurement is the log.
    pub log: Option<String>,
    /// `json`, `line-protocol`, `number`, `text`, `raw` or `auto` (the default).
    pub format: Option<String>,
    /// JSON keys that become tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The JSON key of the time; default `time`.
    pub time_key: Option<String>,
    /// `ns` (the default), `us`, `ms`, `s` or `rfc3339`.
    pub time_unit: Option<String>,
}

/// What is wrong with a route; the caller adds which one it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No pattern.
    #[error("topic is empty: give a pattern such as \"plant/{{line}}/climate\"")]
    NoTopic,
    /// A pattern longer than any topic.
    #[error("topic is longer than {MAX_TOPIC} bytes, which no MQTT topic is")]
    TopicTooLong,
    /// A level that mixes a wildcard with other characters.
    #[error(
        "topic level {0:?}: \"+\", \"#\" and \"{{name}}\" each stand for a whole level, and \"#\" for the last one"
    )]
    Level(String),
    /// A capture without a usable name.
    #[error(
        "topic level {0:?}: a capture is a name of 1 to {MAX_NAME} bytes in braces, each name once, at most {MAX_CAPTURES}"
    )]
    Capture(String),
    /// A log name that is empty, too long or names an unknown capture.
    #[error("log {0:?}: give 1 to {MAX_NAME} bytes; \"{{name}}\" must be a capture of the topic")]
    Log(String),
    /// No log where one is needed.
    #[error("log is missing: only format = \"line-protocol\" takes it from the payload")]
    NoLog,
    /// An unknown format.
    #[error(transparent)]
    Format(#[from] UnknownFormat),
    /// An unknown unit.
    #[error(transparent)]
    TimeUnit(#[from] UnknownTimeUnit),
}

/// A compiled route.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    levels: Vec<Level>,
    /// A pattern that ends with `#`.
    rest: bool,
    log: Vec<Piece>,
    format: Format,
    json: JsonOptions,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Word(String),
    Any,
    Capture(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// Index among the captures.
    Capture(usize),
}

/// All routes in their order, and what happens to a topic without one: log `mqtt`, tag `topic`, format `auto`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    routes: Vec<Route>,
    fallback: JsonOptions,
}

/// How to read one message: a route with the captures of its topic.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'a> {
    /// The payload's format.
    pub format: Format,
    /// How JSON keys are read.
    pub json: &'a JsonOptions,
    log: &'a [Piece],
    fallback: bool,
    tags: [(&'a str, &'a str); MAX_CAPTURES],
    captured: usize,
}

impl Routes {
    /// Compiles routes. The error comes with the index of the route it is about.
    pub fn new(specs: &[RouteSpec]) -> Result<Self, (usize, RouteError)> {
        let mut routes = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            routes.push(Route::compile(spec).map_err(|error| (index, error))?);
        }
        Ok(Self { routes, fallback: JsonOptions::default() })
    }

    /// The first route that matches; it allocates nothing.
    pub fn find<'a>(&'a self, topic: &'a str) -> Matched<'a> {
        let mut tags = [("", ""); MAX_CAPTURES];
        for route in &self.routes {
            if let Some(captured) = route.captures(topic, &mut tags) {
                return Matched {
                    format: route.format,
                    json: &route.json,
                    log: &route.log,
                    fallback: false,
                    tags,
                    captured,
                };
            }
        }
        tags[0] = ("topic", topic);
        Matched { format: Format::Auto, json: &self.fallback, log: &[], fallback: true, tags, captured: 1 }
    }
}

impl<'a> Matched<'a> {
    /// The tags that the topic gives.
    pub fn tags(&self) -> &[(&'a str, &'a str)] {
        &self.tags[..self.captured]
    }

    /// Where the records go; `name` is memory for a log whose name holds captures. `None` if such a name is too long.
    pub fn target<'t>(&'t self, name: &'t mut String) -> Option<Target<'t>> {
        let log = match self.log {
            // Without a route, line protocol still names its own log; other formats fall back to the default one.
            [] => None,
            [Piece::Text(log)] => Some(log.as_str()),
            pieces => {
                name.clear();
                for piece in pieces {
                    name.push_str(match piece {
                        Piece::Text(text) => text,
                        Piece::Capture(index) => self.tags().get(*index).map_or("", |tag| tag.1),
                    });
                }
                Some(name.as_str()).filter(|log| (1..=MAX_NAME).contains(&log.len()))?.into()
            }
        };
        Some(Target { log, tags: self.tags() })
    }

    /// Whether no route matched.
    pub fn is_fallback(&self) -> bool {
        self.fallback
    }
}

impl Route {
    fn compile(spec: &RouteSpec) -> Result<Self, RouteError> {
        if spec.topic.is_empty() {
            return Err(RouteError::NoTopic);
        }
        if spec.topic.len() > MAX_TOPIC {
            return Err(RouteError::TopicTooLong);
        }
        let (pattern, rest) = match spec.topic.strip_suffix('#') {
            Some("") => (None, true),
            Some(front) => match front.strip_suffix('/') {
                Some(front) => (Some(front), true),
                None => return Err(RouteError::Level(last_level(&spec.topic))),
            },
            None => (Some(spec.topic.as_str()), false),
        };
        let mut levels = Vec::new();
        for level in pattern.iter().flat_map(|pattern| pattern.split('/')) {
            levels.push(Level::parse(level)?);
        }
        let captures: Vec<&str> = levels.iter().filter_map(Level::capture).collect();
        for (index, name) in captures.iter().enumerate() {
            if index >= MAX_CAPTURES || captures[..index].contains(name) {
                return Err(RouteError::Capture(format!("{{{name}}}")));
            }
        }
        let format = spec.format.as_deref().map_or(Ok(Format::default()), str::parse)?;
        let log = match &spec.log {
            Some(log) => parse_log(log, &captures)?,
            None if format == Format::LineProtocol => Vec::new(),
            None => return Err(RouteError::NoLog),
        };
        let mut json = JsonOptions { tags: spec.tags.clone(), ..JsonOptions::default() };
        if let Some(key) = &spec.time_key {
            json.time_key.clone_from(key);
        }
        if let Some(unit) = &spec.time_unit {
            json.time_unit = unit.parse::<TimeUnit>()?;
        }
        Ok(Self { levels, rest, log, format, json })
    }

    /// Whether the topic matches, and then how many `tags` its captures filled.
    fn captures<'a>(&'a self, topic: &'a str, tags: &mut [(&'a str, &'a str)]) -> Option<usize> {
        let mut captured = 0;
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Word(_))) {
            return None;
        }
        let mut words = topic.split('/');
        for level in &self.levels {
            let word = words.next()?;
            match level {
                Level::Word(expected) if expected != word => return None,
                Level::Word(_) | Level::Any => {}
                Level::Capture(name) => {
                    // `compile` keeps the number of captures in bounds.
                    *tags.get_mut(captured)? = (name, word);
                    captured += 1;
                }
            }
        }
        (self.rest || words.next().is_none()).then_some(captured)
    }
}

impl Level {
    fn parse(level: &str) -> Result<Self, RouteError> {
        if level == "+" {
            return Ok(Self::Any);
        }
        if let Some(name) = level.strip_prefix('{').and_then(|level| level.strip_suffix('}')) {
            if name.is_empty() || name.len() > MAX_NAME || name.contains(['{', '}', '+', '#']) {
                return Err(RouteError::Capture(level.to_owned()));
            }
            return Ok(Self::Capture(name.to_owned()));
        }
        if level.contains(['+', '#', '{', '}']) {
            return Err(RouteError::Level(level.to_owned()));
        }
        Ok(Self::Word(level.to_owned()))
    }

    fn capture(&self) -> Option<&str> {
        match self {
            Self::Capture(name) => Some(name),
            Self::Word(_) | Self::Any => None,
        }
    }
}

fn last_level(topic: &str) -> String {
    topic.rsplit('/').next().unwrap_or_default().to_owned()
}

fn parse_log(log: &str, captures: &[&str]) -> Result<Vec<Piece>, RouteError> {
    let bad = || RouteError::Log(log.to_owned());
    let mut pieces = Vec::new();
    let mut rest = log;
    while let Some((text, more)) = rest.split_once('{') {
        let (name, after) = more.split_once('}').ok_or_else(bad)?;
        let index = captures.iter().position(|capture| *capture == name).ok_or_else(bad)?;
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        pieces.push(Piece::Capture(index));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    if pieces.is_empty() || log.len() > MAX_NAME || rest.contains('}') {
        return Err(bad());
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(topic: &str, log: &str) -> RouteSpec {
        RouteSpec { topic: topic.into(), log: Some(log.into()), ..RouteSpec::default() }
    }

    fn found(routes: &Routes, topic: &str) -> (Option<String>, Vec<(String, String)>) {
        let matched = routes.find(topic);
        let mut name = String::new();
        let target = matched.target(&mut name).unwrap();
        let tags = target.tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        (target.log.map(str::to_owned), tags)
    }

    #[test]
    fn the_first_route_that_matches_wins_and_captures_become_tags() {
        let routes = Routes::new(&[
            spec("plant/{line}/{machine}/climate", "climate"),
            spec("plant/+/+/climate", "never"),
            spec("plant/{line}/#", "line-{line}"),
        ])
        .unwrap();
        let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            found(&routes, "plant/a/m1/climate"),
            (Some("climate".into()), vec![tag("line", "a"), tag("machine", "m1")])
        );
        assert_eq!(found(&routes, "plant/a/x/y/z"), (Some("line-a".into()), vec![tag("line", "a")]));
        assert_eq!(found(&routes, "plant/a"), (Some("line-a".into()), vec![tag("line", "a")]));
        assert_eq!(found(&routes, "plant"), (None, vec![tag("topic", "plant")]));
        assert_eq!(found(&routes, ""), (None, vec![tag("topic", "")]));
        assert!(routes.find("other").is_fallback());
    }

    #[test]
    fn wildcards_stand_for_whole_levels_as_in_mqtt() {
        for (pattern, topic, matches) in [
            ("#", "a/b", true),
            ("#", "$SYS/load", false),
            ("+/load", "$SYS/load", false),
            ("$SYS/#", "$SYS/load", true),
            ("a/+", "a/", true),
            ("a/+", "a", false),
            ("a/+", "a/b/c", false),
            ("a/#", "a", true),
            ("a//b", "a//b", true),
            ("/a", "a", false),
            ("a/b", "a/B", false),
        ] {
            let routes = Routes::new(&[spec(pattern, "log")]).unwrap();
            assert_eq!(!routes.find(topic).is_fallback(), matches, "{pattern} on {topic}");
        }
    }

    #[test]
    fn a_wrong_route_is_named_with_its_remedy() {
        let with = |change: fn(&mut RouteSpec)| {
            let mut spec = spec("a/{b}", "log");
            change(&mut spec);
            Routes::new(&[RouteSpec { topic: "ok".into(), log: Some("x".into()), ..RouteSpec::default() }, spec])
        };
        let changes: [fn(&mut RouteSpec); 12] = [
            |s| s.topic.clear(),
            |s| s.topic = "a#".into(),
            |s| s.topic = "a/#/b".into(),
            |s| s.topic = "a/b+".into(),
            |s| s.topic = "a/{}".into(),
            |s| s.topic = "{b}/{b}".into(),
            |s| s.topic = "x-{b}".into(),
            |s| s.log = Some("{c}".into()),
            |s| s.log = Some(String::new()),
            |s| s.log = None,
            |s| s.format = Some("xml".into()),
            |s| s.time_unit = Some("days".into()),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let (index, error) = with(change).unwrap_err();
            assert_eq!(index, 1, "case {n}: {error}");
        }
        assert!(with(|s| s.topic = (0..17).map(|n| format!("{{c{n}}}/")).collect()).is_err());
        let without_log = with(|s| (s.log, s.format) = (None, Some("line-protocol".into())));
        assert!(without_log.is_ok());
    }

    #[test]
    fn a_log_name_that_captures_make_too_long_is_refused() {
        let routes = Routes::new(&[spec("a/{b}", "{b}")]).unwrap();
        let long = format!("a/{}", "x".repeat(256));
        assert!(routes.find(&long).target(&mut String::new()).is_none());
        assert!(routes.find("a/").target(&mut String::new()).is_none());
    }
}
