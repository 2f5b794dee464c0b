//! The firmware on a BBC micro:bit: the first has an nRF51822 (Cortex-M0), which QEMU emulates (`-machine microbit`),
//! the second an nRF52833 (Cortex-M4 with a floating-point unit).

#![no_std]
#![no_main]

#[cfg(not(target_abi = "eabihf"))]
mod nrf51;
#[cfg(target_abi = "eabihf")]
mod nrf52833;

use core::panic::PanicInfo;

use cortex_m_rt::entry;
use firmware_sidecar::App;
#[cfg(not(target_abi = "eabihf"))]
use nrf51::{Ticks, start};
#[cfg(target_abi = "eabihf")]
use nrf52833::{Ticks, start};

/// Microseconds from one reading to the next.
const INTERVAL: u32 = 10_000;
/// How many are taken in one life; a real device would not stop.
const COUNT: u32 = 400;

#[entry]
fn main() -> ! {
    static mut APP: App = App::new();
    // For UARTs that fetch and store bytes by themselves.
    static mut TO: [u8; 1] = [0];
    static mut FROM: [u8; 1] = [0];
    // Peripherals that are gone already, right after the start: that cannot be.
    let Some((ticks, mut serial, boot)) = start(TO, FROM) else { halt() };
    let mut clock = Clock { ticks, last: 0, now: 0 };
    APP.start(boot, INTERVAL, COUNT);
    loop {
        APP.turn(clock.now(), &mut serial);
    }
}

/// The time from a timer of 32 bits that counts microseconds; it is read more often than it wraps, which is after 71 minutes.
struct Clock {
    ticks: Ticks,
    last: u32,
    now: u64,
}

impl Clock {
    /// Microseconds since boot.
    fn now(&mut self) -> u64 {
        let count = self.ticks.read();
        self.now += u64::from(count.wrapping_sub(self.last));
        self.last = count;
        self.now
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    halt()
}

fn halt() -> ! {
    loop {
        core::hint::spin_loop();
    }
}
