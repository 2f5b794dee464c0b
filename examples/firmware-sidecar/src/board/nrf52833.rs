//! The second micro:bit. It is built and measured, and has not run: QEMU does not emulate it.

use embedded_io::{Read, ReadReady, Write};
use firmware_sidecar::Link;
use nrf52833_hal::gpio::{Level, p0, p1};
use nrf52833_hal::pac::{Peripherals, TIMER0, UARTE0};
use nrf52833_hal::timer::Periodic;
use nrf52833_hal::uarte::{Baudrate, Parity, Pins, Uarte, UarteRx, UarteTx};
use nrf52833_hal::{Rng, Timer};

/// Counts microseconds.
pub(crate) type Ticks = Timer<TIMER0, Periodic>;

/// The UART on the pins that lead to the USB port.
pub(crate) struct Serial {
    to: UarteTx<UARTE0>,
    from: UarteRx<UARTE0>,
}

/// Sets up what the firmware needs, with a random number that names this life of the device.
pub(crate) fn start(to: &'static mut [u8; 1], from: &'static mut [u8; 1]) -> Option<(Ticks, Serial, u64)> {
    let chip = Peripherals::take()?;
    let (port, other) = (p0::Parts::new(chip.P0), p1::Parts::new(chip.P1));
    let txd = port.p0_06.into_push_pull_output(Level::High).degrade();
    let pins = Pins { rxd: other.p1_08.into_floating_input().degrade(), txd, cts: None, rts: None };
    let uart = Uarte::new(chip.UARTE0, pins, Parity::EXCLUDED, Baudrate::BAUD115200);
    let (to, from) = uart.split(to, from).ok()?;
    let mut ticks = Timer::periodic(chip.TIMER0);
    ticks.start(u32::MAX);
    Some((ticks, Serial { to, from }, Rng::new(chip.RNG).random_u64()))
}

impl Link for Serial {
    /// Waits for the byte before, which is 87 microseconds at most.
    fn write(&mut self, bytes: &[u8]) -> usize {
        bytes.first().map_or(0, |first| self.to.write(&[*first]).unwrap_or(0))
    }

    fn read(&mut self, bytes: &mut [u8]) -> usize {
        let Some(first) = bytes.first_mut() else { return 0 };
        match self.from.read_ready() {
            Ok(true) => self.from.read(core::slice::from_mut(first)).unwrap_or(0),
            _ => 0,
        }
    }
}
