//! A case's curves as an SVG: a line for each cap, and its limit dashed. Mid-grey words on no ground, so that it reads on
//! white as on black.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::run::Outcome;
use crate::Result;

const SIZE: (u32, u32) = (720, 360);
const GREY: RGBColor = RGBColor(128, 128, 128);
const COLOURS: [RGBColor; 6] = [
    RGBColor(46, 134, 222),
    RGBColor(224, 122, 31),
    RGBColor(56, 161, 105),
    RGBColor(200, 75, 140),
    RGBColor(140, 110, 220),
    RGBColor(160, 140, 40),
];
const MIB: f64 = 1_048_576.0;

/// Draws the outcomes of one case into `file`.
///
/// # Errors
/// When it cannot be written.
pub fn draw(file: &Path, title: &str, outcomes: &[&Outcome]) -> Result<()> {
    paint(file, title, outcomes).map_err(|error| format!("{}: {error}", file.display()).into())
}

fn paint(file: &Path, title: &str, outcomes: &[&Outcome]) -> Result<(), Box<dyn std::error::Error>> {
    let seconds = outcomes.iter().filter_map(|o| o.samples.last()).map(|s| s.seconds).fold(1.0, f64::max);
    let highest = outcomes.iter().map(|o| o.peak.max(o.limit)).max().unwrap_or(1) as f64 / MIB;
    // Powers of two: caps of 4 and 256 MiB are both to be read.
    let lowest = outcomes.iter().flat_map(|o| &o.samples).map(|s| s.resident).min().unwrap_or(1 << 20) as f64 / MIB;
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    let words = |size: i32| ("sans-serif", size).into_font().color(&GREY);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, words(15))
        .margin(10)
        .x_label_area_size(34)
        .y_label_area_size(54)
        .right_y_label_area_size(84)
        .build_cartesian_2d(0.0..seconds, (lowest * 0.8..highest * 1.2).log_scale().base(2.0))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY.mix(0.25))
        .axis_style(GREY)
        .label_style(words(12))
        .x_desc("seconds")
        .y_desc("resident MiB")
        .y_label_formatter(&|mib| format!("{mib:.0}"))
        .draw()?;
    for (outcome, colour) in outcomes.iter().zip(COLOURS.iter().cycle()) {
        let curve = outcome.samples.iter().map(|sample| (sample.seconds, sample.resident as f64 / MIB));
        chart.draw_series(LineSeries::new(curve, colour.stroke_width(2)))?;
        let limit = outcome.limit as f64 / MIB;
        let ends = [(0.0, limit), (seconds, limit)];
        chart.draw_series(DashedLineSeries::new(ends, 6, 4, colour.stroke_width(1)))?;
        let label = format!("  cap {} MiB", outcome.cap >> 20);
        let beside = words(12).color(colour).pos(Pos::new(HPos::Left, VPos::Center));
        let at = chart.backend_coord(&(seconds, limit));
        area.draw_text(&label, &beside, at)?;
    }
    area.present()?;
    Ok(())
}
