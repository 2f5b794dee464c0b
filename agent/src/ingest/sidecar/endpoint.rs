//! Where firmware is listened to, as the configuration writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Bits a second of a serial line that is not told otherwise.
const BAUD: u32 = 115_200;

/// A socket or a serial line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `unix:/path`: a socket that processes of this machine connect to.
    Unix(PathBuf),
    /// `serial:/dev/tty…?baud=115200`: a device, 8 bits, no parity, one stop bit.
    Serial {
        /// The device.
        device: PathBuf,
        /// Bits a second.
        baud: u32,
    },
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "\"{text}\": {why}; write \"unix:/run/pyralog/sidecar.sock\" or \"serial:/dev/ttyUSB0?baud=115200\""
            )
        };
        let absolute = |path: &str| {
            if path.starts_with('/') && path.len() > 1 {
                Ok(PathBuf::from(path))
            } else {
                Err(wrong("the path must begin with /"))
            }
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(absolute(path)?));
        }
        let Some(rest) = text.strip_prefix("serial:") else {
            return Err(wrong("this is neither a socket nor a serial line"));
        };
        let (device, options) = rest.split_once('?').unwrap_or((rest, ""));
        let mut baud = BAUD;
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let value = option.strip_prefix("baud=").ok_or_else(|| wrong(&format!("\"{option}\" is no option")))?;
            baud =
                value.parse().ok().filter(|baud| (300..=4_000_000).contains(baud)).ok_or_else(|| {
                    wrong(&format!("\"{value}\" is no baud rate: it is a number from 300 to 4000000"))
                })?;
        }
        Ok(Self::Serial { device: absolute(device)?, baud })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Serial { device, baud } => write!(f, "serial:{}?baud={baud}", device.display()),
        }
    }
}

/// Permission bits of a file, written in octal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl FromStr for FileMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| *bits <= 0o777);
        bits.map(Self)
            .ok_or_else(|| format!("\"{text}\" is no set of permission bits; write them in octal, such as \"0660\""))
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_shown_alike() {
        for text in ["unix:/run/pyralog/sidecar.sock", "serial:/dev/ttyUSB0?baud=9600", "serial:/dev/ttyS1?baud=115200"]
        {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        let usual = "serial:/dev/ttyACM0".parse::<Endpoint>().unwrap();
        assert_eq!(usual, Endpoint::Serial { device: "/dev/ttyACM0".into(), baud: 115_200 });
    }

    #[test]
    fn what_is_no_endpoint_is_told_with_an_example() {
        for (text, word) in [
            ("tcp:127.0.0.1:5", "neither"),
            ("unix:run/x", "begin with /"),
            ("serial:ttyUSB0", "begin with /"),
            ("serial:/dev/ttyUSB0?bauds=9600", "\"bauds=9600\" is no option"),
            ("serial:/dev/ttyUSB0?baud=fast", "\"fast\" is no baud rate"),
            ("stdio", "neither"),
        ] {
            let told = text.parse::<Endpoint>().unwrap_err();
            assert!(told.contains(word) && told.contains("serial:/dev/ttyUSB0?baud=115200"), "{told}");
        }
        assert_eq!("0660".parse::<FileMode>(), Ok(FileMode(0o660)));
        assert!("0999".parse::<FileMode>().is_err() && "rw".parse::<FileMode>().is_err());
        assert!("1777".parse::<FileMode>().is_err());
    }
}
