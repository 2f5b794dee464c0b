//! The first micro:bit.

use embedded_io::{Read, ReadReady, Write, WriteReady};
use firmware_sidecar::Link;
use nrf51_hal::gpio::{Level, p0};
use nrf51_hal::pac::{Peripherals, TIMER0, UART0};
use nrf51_hal::timer::Periodic;
use nrf51_hal::uart::{Baudrate, Parity, Pins, Uart};
use nrf51_hal::{Rng, Timer};

/// Counts microseconds.
pub(crate) type Ticks = Timer<TIMER0, Periodic>;

/// The UART on the pins that lead to the USB port.
pub(crate) struct Serial(Uart<UART0>);

/// Sets up what the firmware needs, with a random number that names this life of the device.
pub(crate) fn start(_: &mut [u8; 1], _: &mut [u8; 1]) -> Option<(Ticks, Serial, u64)> {
    let chip = Peripherals::take()?;
    let port = p0::Parts::new(chip.GPIO);
    let txd = port.p0_24.into_push_pull_output(Level::High).degrade();
    let pins = Pins { rxd: port.p0_25.into_floating_input().degrade(), txd, cts: None, rts: None };
    let open = |uart, pins| Uart::new(uart, pins, Parity::EXCLUDED, Baudrate::BAUD115200);
    // The driver writes a zero before it turns the UART on, and then waits for it to have gone; an emulated UART does
    // not take it. The second time the UART is on. On the link a zero is a delimiter.
    let (uart, pins) = open(chip.UART0, pins).free();
    let serial = Serial(open(uart, pins));
    let mut ticks = Timer::periodic(chip.TIMER0);
    ticks.start(u32::MAX);
    Some((ticks, serial, Rng::new(chip.RNG).random_u64()))
}

impl Link for Serial {
    fn write(&mut self, bytes: &[u8]) -> usize {
        match (bytes.first(), self.0.write_ready()) {
            (Some(first), Ok(true)) => self.0.write(&[*first]).unwrap_or(0),
            _ => 0,
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> usize {
        let mut count = 0;
        for byte in bytes {
            if !matches!(self.0.read_ready(), Ok(true)) {
                break;
            }
            count += self.0.read(core::slice::from_mut(byte)).unwrap_or(0);
        }
        count
    }
}
