use tokio::net::TcpListener;

use super::*;
use crate::secret::SecretText;

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn nobody() -> Lookup {
    Rc::new(|_name| Box::pin(async { Err(io::ErrorKind::NotFound.into()) }))
}

#[test]
fn families_take_turns() {
    let text = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"];
    let addresses: Vec<IpAddr> = text.iter().map(|text| address(text)).collect();
    let expected = ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "2001:db8::3"];
    assert_eq!(in_turn(&addresses), expected.map(address));
    assert_eq!(in_turn(&vec![LOCAL; 30]).len(), ADDRESSES_MAX);
    assert!(in_turn(&[]).is_empty());
}

#[tokio::test]
async fn an_address_that_refuses_is_followed_by_the_next() {
    let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Nobody listens on the first; both are this machine.
    let addresses = [address("127.0.0.2"), LOCAL];
    let to = Destination { host: None, addresses: &addresses, port };
    let lookup = nobody();
    dial(to, None, &lookup).await.unwrap();
    let to = Destination { addresses: &addresses[..1], ..to };
    let error = dial(to, None, &lookup).await.unwrap_err();
    assert_eq!(error.to_string(), "it cannot be reached: the connection was refused");
    let to = Destination { addresses: &[], ..to };
    assert!(matches!(dial(to, None, &lookup).await, Err(DialError::NoAddress)));
}

#[test]
fn the_hosts_own_addresses_are_known() {
    assert!(is_own(LOCAL));
    assert!(is_own(address("127.8.9.10")));
    assert!(is_own(address("::1")));
    assert!(is_own(address("0.0.0.0")));
    assert!(is_own(address("::")));
    assert!(!is_own(address("192.0.2.1")));
    // Every address of an interface of this machine.
    for own in addresses_of_this_machine() {
        assert!(is_own(own), "{own}");
    }
}

/// From the kernel's table of local routes; there may be none but loopback.
fn addresses_of_this_machine() -> Vec<IpAddr> {
    let text = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter(|pair| pair[1].starts_with("/32 host LOCAL"))
        .filter_map(|pair| pair[0].strip_prefix("|-- ")?.parse().ok())
        .collect()
}

#[test]
fn exceptions_are_suffixes_of_names() {
    let proxy = |except: &[&str]| UpstreamProxy {
        host: "proxy.test".to_owned(),
        port: 3128,
        credentials: Some(SecretText::new("u:p".to_owned())),
        except: except.iter().map(|&text| text.to_owned()).collect(),
    };
    let excepted = |except: &[&str], name: &str| {
        let host = Host::parse(name).ok();
        let addresses = [address("192.0.2.1")];
        let to = Destination { host: host.as_ref(), addresses: &addresses, port: 443 };
        proxy::excepts(&proxy(except), &to)
    };
    for (entry, name, result) in [
        ("corp.test", "corp.test", true),
        ("corp.test", "a.corp.test", true),
        (".corp.test", "a.corp.test", true),
        ("*.corp.test", "a.corp.test", true),
        ("CORP.test", "a.corp.test", true),
        ("corp.test", "xcorp.test", false),
        ("corp.test", "corp.test.evil.test", false),
        ("*", "corp.test", true),
        ("", "corp.test", false),
        (".", "corp.test", false),
        ("192.0.2.1", "192.0.2.1", true),
        ("2.1", "192.0.2.1", true),
    ] {
        assert_eq!(excepted(&[entry], name), result, "{entry} {name}");
    }
    let to = Destination { host: None, addresses: &[LOCAL], port: 80 };
    assert!(proxy::excepts(&proxy(&[]), &to), "the host itself");
}
