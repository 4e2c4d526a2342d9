//! The configuration in force as text: valid TOML, each line with its origin.

use super::settings::{MESH_KEY_VARIABLE, Setting, Shape};
use super::{InForce, Loaded, Origin};

/// What `chinwag config` prints: usable as a file for `--config`. Secrets are not shown.
pub fn show(loaded: &Loaded) -> String {
    let lines: Vec<(String, String)> = loaded.in_force.iter().map(line).collect();
    let width = lines.iter().map(|(text, _)| text.chars().count()).max();
    let width = width.unwrap_or(0).min(COLUMN);
    let mut text = String::new();
    for (setting, origin) in lines {
        text.push_str(&format!("{setting:width$}  # {origin}\n"));
    }
    let key_in_environment = loaded.config.mesh_key.is_some()
        && !loaded
            .in_force
            .iter()
            .any(|setting| setting.name == "mesh-key-file" && !setting.values.is_empty());
    if key_in_environment {
        text.push_str(&format!(
            "# the mesh key is set: {MESH_KEY_VARIABLE} (hidden)\n"
        ));
    }
    text
}

/// Origins of longer lines are not aligned.
const COLUMN: usize = 48;

fn line(in_force: &InForce) -> (String, String) {
    let setting = Setting::named(in_force.name).expect("read from the table");
    let key = setting.key();
    // A file cannot name the file that it is.
    let comment = if in_force.name == "config" || in_force.values.is_empty() {
        "# "
    } else {
        ""
    };
    let value = match (setting.shape, &in_force.values[..]) {
        (Shape::List, values) => {
            let quoted: Vec<String> = values.iter().map(|text| quote(text)).collect();
            format!("[{}]", quoted.join(", "))
        }
        (Shape::Switch, [text, ..]) => super::value::switch(text).is_ok_and(|on| on).to_string(),
        (Shape::One, [text, ..]) if is_number(text) => text.clone(),
        (Shape::One, [text, ..]) => quote(text),
        (Shape::One | Shape::Switch, []) => String::new(),
    };
    let origin = match &in_force.origin {
        Origin::Default if in_force.values.is_empty() => "not set".to_owned(),
        Origin::Environment => format!("environment {}", setting.variable()),
        Origin::Flag => format!("flag --{}", setting.name),
        Origin::Default | Origin::File(_) => in_force.origin.to_string(),
    };
    (
        format!("{comment}{key} = {value}").trim_end().to_owned(),
        origin,
    )
}

fn is_number(text: &str) -> bool {
    text.parse::<u32>()
        .is_ok_and(|number| number.to_string() == text)
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
