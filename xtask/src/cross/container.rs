//! `Cross.toml`, for those who build with `cross` in containers, is held to the same targets; no container runs here.

use std::path::Path;

use super::target::ALL;

#[test]
fn cross_toml_has_our_targets_and_each_has_an_image_file_that_begins_with_crosss_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let config: toml::Table = std::fs::read_to_string(root.join("Cross.toml")).unwrap().parse().unwrap();
    let targets = config["target"].as_table().unwrap();
    let mut ours: Vec<_> = ALL.iter().map(|target| target.triple).collect();
    ours.sort_unstable();
    let mut theirs: Vec<_> = targets.keys().map(String::as_str).collect();
    theirs.sort_unstable();
    assert_eq!(theirs, ours);
    for (name, settings) in targets {
        let file = root.join(settings["dockerfile"].as_str().unwrap());
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines[..2], ["ARG CROSS_BASE_IMAGE", "FROM ${CROSS_BASE_IMAGE}"], "{name}: {}", file.display());
        assert!(text.contains(" make"), "{name}: the allocator's build needs make");
    }
    let default = config["build"]["default-target"].as_str().unwrap();
    assert!(ours.contains(&default), "{default}");
}
