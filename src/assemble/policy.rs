//! Reading the access policy: its file, its mistakes, who may write it.

use super::{Ground, mistake_fault};
use crate::access::Policy;
use crate::access::policy::accounts::System;
use crate::access::policy::parse::{Written, parse};
use crate::disk::stamp::Stamp;
use crate::failure::{Failure, Fault, exit};
use crate::model::schema::Schema;
use crate::report::Style;
use crate::settings::ShownPath;
use crate::source::file::{FileFault, TEXT_LIMIT};

/// The permission bit that lets others write.
const OTHERS_WRITE: u32 = 0o002;

/// A file that was read, and what it was then.
type Read = (ShownPath, Option<Stamp>);

/// An access policy, read.
#[derive(Debug)]
pub struct LoadedPolicy {
    /// Its rules.
    pub rules: Vec<Written>,
    /// Its permission bits.
    pub mode: u32,
    /// What the file was when it was read.
    pub stamp: Stamp,
}

/// The policy that the settings name, and its file; without one, the daemon's own
/// user may do everything.
///
/// # Errors
/// [`Failure`] with every mistake of the file, or why it cannot be read.
pub fn load_policy(ground: &Ground, own: u32, style: Style) -> Result<(Policy, Option<Read>), Failure> {
    let service = ground.service.as_deref();
    let ours = ground.schema.vars.iter().filter(|var| var.read_by(service)).map(|var| var.key.clone());
    let Some(file) = ground.settings.socket.as_ref().and_then(|socket| socket.policy.clone()) else {
        return Ok((Policy::own_user(own, ours.collect()), None));
    };
    let LoadedPolicy { rules, stamp, .. } = read_policy(&file, &ground.schema, service, style)?;
    let rules = rules.into_iter().map(|written| written.rule);
    Ok((Policy::written(own, ours.collect(), rules), Some((file, Some(stamp)))))
}

/// One policy.
///
/// # Errors
/// [`Failure`], as of [`load_policy`].
pub fn read_policy(
    file: &ShownPath,
    schema: &Schema,
    service: Option<&str>,
    style: Style,
) -> Result<LoadedPolicy, Failure> {
    let label = &file.label;
    let read = file.read(TEXT_LIMIT).map_err(|fault| unread(label, fault))?;
    let rules = parse(&read.text, schema, service, &System).map_err(|mistakes| {
        let faults = mistakes.into_iter().map(|mistake| mistake_fault(label, &read.text, mistake, style));
        Failure { exit: exit::USAGE, faults: faults.collect() }
    })?;
    if read.mode & OTHERS_WRITE != 0 {
        return Err(Failure {
            exit: exit::REFUSED,
            faults: vec![Fault {
                code: None,
                message: format!(
                    "others may write the access policy (mode {:04o}): who can write it can read everything",
                    read.mode
                ),
                place: Some(label.clone()),
                help: Some(format!("chmod o-w {label}")),
                drawn: None,
            }],
        });
    }
    Ok(LoadedPolicy { rules, mode: read.mode, stamp: read.stamp })
}

fn unread(label: &str, fault: FileFault) -> Failure {
    let outside = fault == FileFault::Outside;
    let fault = fault.at(&label.into());
    Failure {
        exit: if outside { exit::REFUSED } else { exit::USAGE },
        faults: vec![Fault {
            code: None,
            message: format!("the access policy could not be read: {}", fault.message),
            place: Some(fault.location.to_string()),
            help: Some(fault.help),
            drawn: None,
        }],
    }
}
