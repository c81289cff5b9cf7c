//! The table: every figure of every run, as median and spread beside its goal.

use std::fmt::Write;

use crate::process::output;

/// One measured number.
#[derive(Clone, Debug)]
pub struct Figure {
    pub row: &'static str,
    pub what: String,
    pub goal: String,
    pub server: String,
    pub value: f64,
}

/// Everything measured so far, in the order it was first seen.
#[derive(Default)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Report {
    pub fn add(
        &mut self,
        row: &'static str,
        what: impl Into<String>,
        goal: impl Into<String>,
        server: &str,
        value: f64,
    ) {
        let figure = Figure { row, what: what.into(), goal: goal.into(), server: server.to_owned(), value };
        eprintln!("  {row} {}: {} {}", figure.server, figure.what, number(value));
        self.figures.push(figure);
    }

    /// The table in Markdown, each server beside the first one.
    pub fn table(&self) -> String {
        let mut servers: Vec<&str> = Vec::new();
        let mut lines: Vec<(&str, &str, &str)> = Vec::new();
        for figure in &self.figures {
            if !servers.contains(&figure.server.as_str()) {
                servers.push(&figure.server);
            }
            if !lines.iter().any(|line| (line.0, line.1) == (figure.row, figure.what.as_str())) {
                lines.push((figure.row, &figure.what, &figure.goal));
            }
        }
        let mut out = String::from("| row | figure | goal |");
        for server in &servers {
            let _ = write!(out, " {server}: median (spread) |");
        }
        if servers.len() > 1 {
            let _ = write!(out, " {} / {} |", servers[0], servers[1]);
        }
        let columns = 3 + servers.len() + usize::from(servers.len() > 1);
        let _ = write!(out, "\n|{}\n", "---|".repeat(columns));
        for (row, what, goal) in lines {
            let _ = write!(out, "| {row} | {what} | {goal} |");
            let medians: Vec<Option<f64>> =
                servers.iter().map(|server| self.cell(row, what, server, &mut out)).collect();
            if let [Some(ours), Some(theirs), ..] = medians[..] {
                let _ = write!(out, " {:.2} |", ours / theirs);
            } else if servers.len() > 1 {
                out.push_str(" – |");
            }
            out.push('\n');
        }
        out
    }

    fn cell(&self, row: &str, what: &str, server: &str, out: &mut String) -> Option<f64> {
        let same = |figure: &&Figure| figure.row == row && figure.what == what && figure.server == server;
        let mut values: Vec<f64> = self.figures.iter().filter(same).map(|figure| figure.value).collect();
        values.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (values.first(), values.last()) else {
            out.push_str(" – |");
            return None;
        };
        let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
        let _ = write!(out, " {} ({}–{}) |", number(median), number(*least), number(*most));
        Some(median)
    }
}

/// Three figures that count, no more.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Where and what was measured: without this line a figure means nothing.
pub fn circumstances() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let changed =
        if output("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty() { "" } else { " + changes" };
    let commit = output("git", &["rev-parse", "--short", "HEAD"]);
    format!("{cores} × {model}, Linux {}, load {load} at the start, commit {commit}{changed}", output("uname", &["-r"]))
}
