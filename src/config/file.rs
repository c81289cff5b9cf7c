//! The TOML file, whose settings are defaults of the command line.

use std::path::Path;

use clap::Command;

/// The same command with the file's settings as defaults, so that flags and environment win over it.
pub fn with_file(mut command: Command, file: &Path) -> Result<Command, String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
    let table: toml::Table = text.parse().map_err(|error| format!("{shown}: {error}"))?;
    for (key, value) in table {
        if !command.get_arguments().any(|arg| arg.get_id() == key.as_str()) {
            return Err(format!("{shown}: there is no setting {key:?}; --help lists them"));
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Array(items) => items.iter().filter_map(|item| item.as_str()).collect::<Vec<_>>().join(","),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(on) => on.to_string(),
            _ => return Err(format!("{shown}: {key} must be a text, a number, true, false or a list of texts")),
        };
        command = command.mut_arg(key, |arg| arg.default_value(text));
    }
    Ok(command)
}
