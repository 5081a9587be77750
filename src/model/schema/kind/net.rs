//! Names and addresses: URL, origin, e-mail, host, host and port, IP, DSN.

use std::net::{IpAddr, Ipv6Addr};

use super::{Driver, Fault, first_not, quoted};

/// An absolute URL with an authority, as strict about escapes and spaces as
/// Go's `net/url`. No user name or password: those belong into a `dsn`.
pub(super) fn url(value: &str, schemes: &[Box<str>]) -> Result<(), Fault> {
    if let Some((at, c)) = first_not(value, |c| !c.is_whitespace() && !c.is_control() && c != '\\') {
        return Err(
            Fault::not(format!("{} has no place in a URL", quoted(c.encode_utf8(&mut [0; 4])))).at(at)
        );
    }
    let Some((scheme, rest)) = value.split_once("://") else {
        return Err(Fault::not("there is no scheme such as https://"));
    };
    if let Some(at) = broken_escape(value) {
        return Err(Fault::not("% is not followed by two hexadecimal digits").at(at..at + 1));
    }
    let parsed = url::Url::parse(value).map_err(|error| Fault::not(error.to_string()))?;
    let start = scheme.len() + 3;
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if let Some(at) = rest.get(..authority).and_then(|authority| authority.rfind('@')) {
        return Err(
            Fault::not("a URL of this type carries no user name or password").at(start..start + at + 1)
        );
    }
    // The parser would take the first piece of http:///path for the host.
    if authority == 0 || parsed.host_str().is_none_or(str::is_empty) {
        return Err(Fault::not("there is no host").at(start..value.len()));
    }
    if !schemes.is_empty() && !schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return Err(Fault::not(format!("the scheme {} is not allowed", quoted(scheme))).at(0..scheme.len()));
    }
    Ok(())
}

/// Where a `%` is not followed by two hexadecimal digits.
fn broken_escape(value: &str) -> Option<usize> {
    let bytes = value.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    value.match_indices('%').map(|(at, _)| at).find(|at| !hex(at + 1) || !hex(at + 2))
}

/// `scheme://host[:port]` exactly as a browser sends it, since it is compared
/// as text: lower case, no path, no default port.
pub(super) fn origin(value: &str) -> Result<(), Fault> {
    if value.contains('*') {
        let at = value.find('*').unwrap_or_default();
        return Err(Fault::not("an origin has no wildcard").at(at..at + 1));
    }
    url(value, &[])?;
    let (scheme, rest) = value.split_once("://").unwrap_or_default();
    let start = scheme.len() + 3;
    let canonical = match url::Url::parse(value).map(|url| url.origin()) {
        Ok(origin) if origin.is_tuple() => origin.ascii_serialization(),
        // A scheme of its own, such as capacitor://localhost.
        _ => value.trim_end_matches('/').to_ascii_lowercase(),
    };
    if canonical == value {
        return Ok(());
    }
    let path = rest.find(['/', '?', '#']).map(|at| start + at..value.len());
    let slash = path.as_ref().is_some_and(|path| path.len() == 1 && value.ends_with('/'));
    let fault = if slash {
        Fault::not("an origin does not end with a slash")
    } else if path.is_some() {
        Fault::not("an origin ends after the host and the port")
    } else if value.contains(|c: char| c.is_ascii_uppercase()) {
        Fault::not("browsers send origins in lower case")
    } else if rest.ends_with(":80") || rest.ends_with(":443") {
        Fault::not("browsers leave the default port out")
    } else {
        Fault::not("browsers write this host differently")
    };
    let works = (slash || path.is_none()).then_some(canonical);
    Err(Fault { at: path, ..fault.works(works) })
}

/// An address that SMTP servers accept: no quoted local parts, no comments.
pub(super) fn email(value: &str) -> Result<(), Fault> {
    if let Some((_, address)) = value.strip_suffix('>').and_then(|value| value.split_once('<')) {
        return Err(Fault::not("only the address itself is read, without a name").works(address.to_owned()));
    }
    let Some((local, domain)) = value.rsplit_once('@') else {
        return Err(Fault::not("there is no @"));
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    if let Some((at, c)) = first_not(local, allowed) {
        return Err(
            Fault::not(format!("{} has no place before the @", quoted(c.encode_utf8(&mut [0; 4])))).at(at)
        );
    }
    if local.is_empty() || local.len() > 64 {
        return Err(Fault::not("there are 1 to 64 characters before the @"));
    }
    if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err(Fault::not("dots before the @ stand single and inside").at(0..local.len()));
    }
    let after = local.len() + 1;
    host_name(domain).map_err(|reason| Fault::not(reason).at(after..value.len()))
}

/// A host name after RFC 1123, or an IP address.
pub(super) fn host(value: &str) -> Result<(), Fault> {
    if value.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    if value.contains("://") {
        return Err(Fault::not("a host has no scheme: only what stands after the ://"));
    }
    if let Some((name, port)) = value.rsplit_once(':')
        && !name.contains(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(Fault::not("a host has no port; it belongs into a variable of its own")
            .at(name.len()..value.len()));
    }
    host_name(value).map_err(Fault::not)
}

fn host_name(name: &str) -> Result<(), &'static str> {
    let labels = name.strip_suffix('.').unwrap_or(name);
    if labels.is_empty() || labels.len() > 253 {
        return Err("a host name has 1 to 253 characters");
    }
    for label in labels.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err("there are 1 to 63 characters between the dots of a host name");
        }
        if label.contains('_') {
            return Err("a host name has no underscore");
        }
        if label.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
            return Err("a host name is made of letters, digits, hyphens and dots");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("no part of a host name begins or ends with a hyphen");
        }
    }
    // What ends in a number is read as an IPv4 address by every resolver.
    let last = labels.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) && labels.parse::<IpAddr>().is_err() {
        return Err("it looks like an IPv4 address and is none");
    }
    Ok(())
}

/// `host:port`; an IPv6 address stands in brackets.
pub(super) fn host_port(value: &str) -> Result<(), Fault> {
    if value.contains("://") {
        return Err(Fault::not("there is no scheme here: only host:port"));
    }
    let Some((host, port)) = value.rsplit_once(':') else {
        return Err(Fault::not("there is no port"));
    };
    judge_host(host).map_err(|reason| Fault::not(reason).at(0..host.len()))?;
    judge_port(port).map_err(|fault| fault.at(host.len() + 1..value.len()))
}

/// A host of an authority: a name, an IPv4 address or `[IPv6]`.
fn judge_host(host: &str) -> Result<(), &'static str> {
    match host.strip_prefix('[') {
        Some(rest) => match rest.strip_suffix(']').map(str::parse::<Ipv6Addr>) {
            Some(Ok(_)) => Ok(()),
            _ => Err("there is no IPv6 address in the brackets"),
        },
        None if host.contains(':') => Err("an IPv6 address stands in brackets here"),
        None => host_name(host),
    }
}

fn judge_port(port: &str) -> Result<(), Fault> {
    match port.parse::<u32>() {
        _ if port.is_empty() || port.contains(|c: char| !c.is_ascii_digit()) => {
            Err(Fault::not("the port is no number"))
        }
        Ok(1..=65_535) => Ok(()),
        _ => Err(Fault::range("ports go from 1 to 65535")),
    }
}

/// An IPv4 or IPv6 address, without zone and without prefix length.
pub(super) fn ip(value: &str) -> Result<(), Fault> {
    if value.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let reason = if value.contains('/') {
        "an address has no prefix length"
    } else if value.starts_with('[') {
        "an address alone stands without brackets"
    } else {
        "it is no IP address"
    };
    let bare = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
    Err(Fault::not(reason).works(bare.map(str::to_owned)))
}

/// A connection string. Secret, so the reasons are static.
pub(super) fn dsn(value: &str, driver: Driver) -> Result<(), &'static str> {
    if value.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a DSN holds no white space; in a password it is written %20");
    }
    let Some((scheme, rest)) = value.split_once("://") else {
        return Err("there is no scheme");
    };
    if !driver.schemes().contains(&scheme) {
        return Err("the scheme is not one of this driver");
    }
    // A list of NATS servers repeats the scheme, or not.
    let several = driver == Driver::Nats;
    let mut servers = if several { rest.split(',') } else { rest.split('\0') };
    servers.try_for_each(|server| {
        let server = match server.split_once("://") {
            Some((scheme, rest)) if several && driver.schemes().contains(&scheme) => rest,
            _ => server,
        };
        authority(server, driver)
    })
}

/// Judges `user:password@host:port,host:port/path`.
fn authority(text: &str, driver: Driver) -> Result<(), &'static str> {
    const ESCAPE: &str =
        "the password must be percent-encoded: of / ? # % @ each is written as % and two digits";
    if broken_escape(text).is_some() {
        return Err(ESCAPE);
    }
    let (authority, path) = match text.find(['/', '?', '#']) {
        Some(at) => text.split_at_checked(at).unwrap_or((text, "")),
        None => (text, ""),
    };
    let path_alone = path.split(['?', '#']).next().unwrap_or_default();
    // An @ after the authority is most often a password cut short by / ? or #.
    let cut_short = path.contains('@');
    if path_alone.contains('@') || path.starts_with('#') {
        return Err(ESCAPE);
    }
    let hosts = match authority.split_once('@') {
        Some((_, hosts)) if hosts.contains('@') => return Err(ESCAPE),
        Some((_, hosts)) => hosts,
        None => authority,
    };
    if hosts.is_empty() {
        return Err("there is no host");
    }
    for host in hosts.split(',') {
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (host, None),
        };
        if host.is_empty() {
            return Err("there is no host");
        }
        judge_host(host).map_err(|reason| if cut_short { ESCAPE } else { reason })?;
        if port.is_some_and(|port| judge_port(port).is_err()) {
            return Err(if cut_short { ESCAPE } else { "the port is not one from 1 to 65535" });
        }
    }
    let database = path_alone.trim_start_matches('/');
    if driver == Driver::Redis && database.contains(|c: char| !c.is_ascii_digit()) {
        return Err("the database of a Redis URL is a number");
    }
    Ok(())
}
