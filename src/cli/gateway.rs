//! The gateway's flags, made from its settings, and its subcommand.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand};

use super::say;
use crate::config::{self, Config, Features, Settings};
use crate::gateway::{BackendConfig, FieldKind, Routes, settings};

/// Under which `--help` shows them.
pub(super) const HEADING: &str = "Gateway";

/// The role and the gateway's settings, as far as they are given.
#[derive(Clone, Debug, Default)]
pub struct GatewayFlags {
    /// Ways in the configuration and their values.
    pub settings: Settings,
}

impl Args for GatewayFlags {
    fn augment_args(command: Command) -> Command {
        let target = Arg::new("target")
            .long("target")
            .value_name("ROLES")
            .help("Roles to run instead of those that the config file names: all, agent, federation-frontend, gateway");
        settings().iter().fold(command.arg(target), |command, setting| {
            let arg = Arg::new(setting.path.as_str())
                .long(setting.flag.as_str())
                .help(setting.help.as_str())
                .help_heading(HEADING)
                .hide_short_help(true);
            command.arg(match setting.kind {
                FieldKind::Switch => arg
                    .value_name("BOOL")
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
                    .value_parser(BoolishValueParser::new()),
                FieldKind::Text => arg.value_name("TEXT"),
                FieldKind::Path => arg.value_name("FILE"),
                FieldKind::Number => arg.value_name("N"),
                FieldKind::Duration => arg.value_name("DURATION"),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for GatewayFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<GatewayFlags, clap::Error> {
        let mut flags = GatewayFlags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let values = &mut self.settings.0;
        values.extend(matches.get_one::<String>("target").map(|roles| ("target".to_owned(), roles.clone())));
        for setting in settings() {
            let id = setting.path.as_str();
            let value = match setting.kind {
                FieldKind::Switch => matches.get_one::<bool>(id).map(bool::to_string),
                FieldKind::Path => matches.get_one::<String>(id).map(|path| from_here(path)),
                _ => matches.get_one::<String>(id).cloned(),
            };
            let Some(value) = value else { continue };
            if let Some(Err(why)) = setting.field.map(|field| (field.set)(&mut BackendConfig::default(), &value)) {
                return Err(clap::Error::raw(ErrorKind::ValueValidation, format!("--{}: {why}\n", setting.flag)));
            }
            values.push((setting.path.clone(), value));
        }
        Ok(())
    }
}

/// A path on the command line is relative to the working directory, not to the config file.
fn from_here(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.to_string_lossy().into_owned())
}

impl GatewayFlags {
    /// Whether the flags alone make a configuration, so that there need be no file.
    pub(super) fn suffice(&self) -> bool {
        self.settings.0.iter().any(|(way, value)| way == "target" && value == "gateway")
    }
}

#[derive(Subcommand, Debug)]
pub(super) enum Gateway {
    /// Print which path goes to which component, and where that is. The longest path that fits decides.
    Routes {
        /// Configuration file.
        #[arg(long = "config.file", value_name = "FILE")]
        config_file: Option<PathBuf>,
        /// What the configuration says, on the command line.
        #[command(flatten)]
        flags: GatewayFlags,
    },
}

pub(super) fn run(command: Gateway) -> ExitCode {
    let Gateway::Routes { config_file, mut flags } = command;
    if flags.settings.0.iter().all(|(way, _)| way != "target") {
        flags.settings.0.push(("target".to_owned(), "gateway".to_owned()));
    }
    let loaded = match &config_file {
        Some(file) => config::load_set(file, &Features::default(), &flags.settings, false),
        None => config::load_str_with("", Path::new(""), flags.settings),
    };
    match loaded {
        Ok(config) => {
            print_routes(&config);
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("watershed: the configuration was refused:\n{errors}");
            ExitCode::FAILURE
        }
    }
}

fn print_routes(config: &Config) {
    let Some(gateway) = &config.gateway else {
        return say("the configuration has no gateway");
    };
    let routes = Routes::new(gateway);
    let width = routes.iter().map(|route| route.to_string().len()).max().unwrap_or(0);
    for route in routes.iter() {
        let url = gateway.backend(route.component).and_then(|backend| backend.url.as_ref());
        let place = url.map_or("404, it has no URL", |url| url.text.as_str());
        say(format_args!("{route:width$}  {:<14}  {place}", route.component.name()));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        gateway: GatewayFlags,
    }

    fn parse(args: &[&str]) -> Result<Vec<(String, String)>, String> {
        let args = std::iter::once("x").chain(args.iter().copied());
        Only::try_parse_from(args).map(|only| only.gateway.settings.0).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_the_paths_of_the_configuration() {
        let values = parse(&[
            "--target=gateway",
            "--gateway.proxy.store-gateway.url=http://s:1",
            "--gateway.proxy.store-gateway.tls-enabled",
            "--gateway.proxy.query-frontend.enable-keepalive=false",
            "--gateway.proxy.ruler.tls-ca-path=/ca.pem",
            "--http.prometheus-http-prefix=/prom",
        ])
        .expect("good");
        let values: Vec<(&str, &str)> = values.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect();
        assert_eq!(
            values,
            [
                ("target", "gateway"),
                ("gateway.proxy.query_frontend.enable_keepalive", "false"),
                ("gateway.proxy.ruler.tls_ca_path", "/ca.pem"),
                ("gateway.proxy.store_gateway.url", "http://s:1"),
                ("gateway.proxy.store_gateway.tls_enabled", "true"),
                ("api.prometheus_http_prefix", "/prom"),
            ]
        );
        assert_eq!(parse(&[]), Ok(Vec::new()));
    }

    #[test]
    fn a_value_that_cannot_be_is_told_with_its_flag() {
        let error = parse(&["--gateway.proxy.ruler.retries=many"]).expect_err("no number");
        assert!(error.contains("--gateway.proxy.ruler.retries") && error.contains("from 0 to 10"), "{error}");
        parse(&["--gateway.proxy.rulr.retries=1"]).expect_err("no such component");
        parse(&["--gateway.proxy.ruler.enable-keepalive=perhaps"]).expect_err("no switch");
    }
}
