//! Whether a program can be given its arguments and its environment, before anything is
//! done for that.
//!
//! Owns: what `execve` refuses however often it is tried. It is known while an earlier
//! program still runs. Must not know: what the variables mean.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit};

use super::ExecError;

/// `linux/fs/exec.c`: what there is room for whatever the stack's limit is, and at most.
const ROOM: (u64, u64) = (128 * 1024, 6 * 1024 * 1024);
/// For what is not known here: the program's path, and a script's interpreter.
const SPARE: u64 = 8 * 1024;

/// Whether they can be given.
///
/// # Errors
/// [`ExecError::Nul`], [`ExecError::TooLong`], [`ExecError::TooLarge`].
pub fn can_be_given(argv: &[OsString], environment: &[(OsString, OsString)]) -> Result<(), ExecError> {
    let (longest, room) = (longest(), room());
    let mut taken = 0;
    let mut take = |what: &dyn Fn() -> String, parts: &[&OsStr]| {
        if parts.iter().any(|part| part.as_bytes().contains(&0)) {
            return Err(ExecError::Nul { what: what() });
        }
        // Between a name and a value there is a sign, and after all a NUL.
        let length = parts.iter().map(|part| part.len() as u64 + 1).sum::<u64>();
        if length > longest {
            return Err(ExecError::TooLong { what: what(), longest: longest - 1 });
        }
        taken += length + size_of::<*const u8>() as u64;
        Ok(())
    };
    for (at, argument) in argv.iter().enumerate() {
        take(&|| format!("argument {at}"), &[argument])?;
    }
    for (name, value) in environment {
        take(&|| name.to_string_lossy().into_owned(), &[name, value])?;
    }
    if taken + SPARE > room { Err(ExecError::TooLarge) } else { Ok(()) }
}

/// The longest argument or variable, with the NUL at its end: 32 pages.
fn longest() -> u64 {
    // SAFETY: a number goes in, a number comes out.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    32 * u64::try_from(page).unwrap_or(4096).max(4096)
}

/// All of them together, with the pointers to them: a quarter of the stack.
fn room() -> u64 {
    let stack = getrlimit(Resource::RLIMIT_STACK).map_or(u64::MAX, |(soft, _)| soft);
    (stack / 4).clamp(ROOM.0, ROOM.1)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn variables(sizes: &[usize]) -> Vec<(OsString, OsString)> {
        let one = |(at, size): (usize, &usize)| (format!("V{at}").into(), "v".repeat(*size).into());
        sizes.iter().enumerate().map(one).collect()
    }

    /// What the kernel says.
    fn runs(environment: &[(OsString, OsString)]) -> bool {
        Command::new("/bin/true").env_clear().envs(environment.iter().cloned()).status().is_ok()
    }

    #[test]
    fn it_is_as_the_kernel_says() {
        let argv = ["/bin/true".into()];
        let longest = usize::try_from(longest()).unwrap();
        // `V0=` and a NUL are four.
        for (sizes, fits) in [
            (vec![0, 1, 4000], true),
            (vec![longest - 4], true),
            (vec![longest - 3], false),
            (vec![longest - 8; usize::try_from(room()).unwrap() / longest - 1], true),
            (vec![longest - 8; usize::try_from(room()).unwrap() / longest + 1], false),
        ] {
            let environment = variables(&sizes);
            let judged = can_be_given(&argv, &environment);
            assert_eq!(
                (judged.is_ok(), runs(&environment)),
                (fits, fits),
                "{} of {:?}",
                sizes.len(),
                sizes.first()
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_is() {
        let argv = ["true".into()];
        let refusal = |value: String| {
            let environment = [("A".into(), "1".into()), ("TOKEN".into(), value.into())];
            can_be_given(&argv, &environment).unwrap_err().to_string()
        };
        assert_eq!(refusal("canary\0".into()), "TOKEN holds a NUL byte, which no process can be given");
        let long = refusal("canary".repeat(1 << 20));
        assert!(long.starts_with("TOKEN is longer than"), "{long}");
        assert!(!long.contains("canary"), "{long}");
        assert!(can_be_given(&["a\0".into()], &[]).unwrap_err().to_string().starts_with("argument 0 "));
    }
}
