//! Units of time on the way in; the ring knows Unix nanoseconds alone.

use std::str::FromStr;

/// The unit in which a sender counts Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Nanoseconds, the default everywhere.
    #[default]
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Minutes (InfluxDB 1 clients).
    Minutes,
    /// Hours (InfluxDB 1 clients).
    Hours,
}

/// A precision that no InfluxDB API knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown precision {0:?}: use ns, us, ms or s (or n, u, m, h as in the v1 API)")]
pub struct UnknownPrecision(String);

impl Precision {
    /// Nanoseconds in one unit.
    pub const fn nanos(self) -> i64 {
        match self {
            Self::Nanoseconds => 1,
            Self::Microseconds => 1_000,
            Self::Milliseconds => 1_000_000,
            Self::Seconds => 1_000_000_000,
            Self::Minutes => 60_000_000_000,
            Self::Hours => 3_600_000_000_000,
        }
    }

    /// `count` units as Unix nanoseconds; `None` outside the years 1677 to 2262, which is all that 64 bits hold.
    pub fn to_ns(self, count: i64) -> Option<i64> {
        count.checked_mul(self.nanos())
    }

    /// A fraction of units as Unix nanoseconds. Whole units are scaled as integers, so that a float of seconds loses
    /// no more than the float itself had lost.
    pub fn float_to_ns(self, count: f64) -> Option<i64> {
        let whole = count.trunc();
        if !(-9.3e18..9.3e18).contains(&whole) {
            return None;
        }
        let rest = ((count - whole) * self.nanos() as f64).round() as i64;
        // `as` saturates: a count at the very edge then overflows in the multiplication or stays exact.
        self.to_ns(whole as i64)?.checked_add(rest)
    }
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(text: &str) -> Result<Self, UnknownPrecision> {
        Ok(match text {
            "" | "ns" | "n" => Self::Nanoseconds,
            "us" | "u" | "µ" | "µs" => Self::Microseconds,
            "ms" => Self::Milliseconds,
            "s" => Self::Seconds,
            "m" => Self::Minutes,
            "h" => Self::Hours,
            other => return Err(UnknownPrecision(other.chars().take(16).collect())),
        })
    }
}

/// How a JSON document writes its time (`time_unit` of a route).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// A number of units since 1970; a string may hold the number or RFC 3339.
    Unix(Precision),
    /// RFC 3339 text only.
    Rfc3339,
}

/// A `time_unit` that is not one of the five.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown time_unit {0:?}: use ns, us, ms, s or rfc3339")]
pub struct UnknownTimeUnit(String);

impl Default for TimeUnit {
    fn default() -> Self {
        Self::Unix(Precision::Nanoseconds)
    }
}

impl FromStr for TimeUnit {
    type Err = UnknownTimeUnit;

    fn from_str(text: &str) -> Result<Self, UnknownTimeUnit> {
        Ok(match text {
            "ns" => Self::Unix(Precision::Nanoseconds),
            "us" => Self::Unix(Precision::Microseconds),
            "ms" => Self::Unix(Precision::Milliseconds),
            "s" => Self::Unix(Precision::Seconds),
            "rfc3339" => Self::Rfc3339,
            other => return Err(UnknownTimeUnit(other.chars().take(16).collect())),
        })
    }
}

impl TimeUnit {
    /// Unix nanoseconds of an integer, or `None` if this unit takes none or 64 bits cannot hold it.
    pub fn integer(self, count: i64) -> Option<i64> {
        match self {
            Self::Unix(precision) => precision.to_ns(count),
            Self::Rfc3339 => None,
        }
    }

    /// Unix nanoseconds of a float, rounded.
    pub fn float(self, count: f64) -> Option<i64> {
        match self {
            Self::Unix(precision) => precision.float_to_ns(count),
            Self::Rfc3339 => None,
        }
    }

    /// Unix nanoseconds of a text: RFC 3339, or a number in this unit.
    pub fn text(self, text: &str) -> Option<i64> {
        let text = text.trim();
        if let Ok(count) = text.parse::<i64>() {
            return self.integer(count);
        }
        match chrono::DateTime::parse_from_rfc3339(text) {
            Ok(time) => time.timestamp_nanos_opt(),
            Err(_) => self.float(text.parse::<f64>().ok()?),
        }
    }

    /// What a valid time looks like, for error messages.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Unix(_) => {
                "expected a Unix time between the years 1677 and 2262 in the unit of the route, or RFC 3339"
            }
            Self::Rfc3339 => "expected RFC 3339, as in \"2026-01-31T12:00:00.5Z\", between the years 1677 and 2262",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_scale_to_nanoseconds_or_say_that_they_do_not_fit() {
        assert_eq!(Precision::Hours.to_ns(2), Some(7_200_000_000_000));
        assert_eq!(Precision::Seconds.to_ns(i64::MAX), None);
        assert_eq!("u".parse(), Ok(Precision::Microseconds));
        assert!("d".parse::<Precision>().is_err());
    }

    #[test]
    fn a_float_of_seconds_keeps_its_whole_seconds_exactly() {
        assert_eq!(Precision::Seconds.float_to_ns(1_362_096_000.5), Some(1_362_096_000_500_000_000));
        assert_eq!(Precision::Seconds.float_to_ns(-0.5), Some(-500_000_000));
        for bad in [f64::NAN, f64::INFINITY, 1e300, 9.23e9] {
            assert_eq!(Precision::Seconds.float_to_ns(bad), None, "{bad}");
        }
    }

    #[test]
    fn text_times_are_rfc_3339_or_numbers() {
        let unit = TimeUnit::Unix(Precision::Seconds);
        assert_eq!(unit.text("1970-01-01T00:00:01.5+00:00"), Some(1_500_000_000));
        assert_eq!(unit.text("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(unit.text("12"), Some(12_000_000_000));
        assert_eq!(unit.text("yesterday"), None);
        assert_eq!(TimeUnit::Rfc3339.text("12"), None);
        assert_eq!(TimeUnit::Rfc3339.text("9999-01-01T00:00:00Z"), None);
    }
}
