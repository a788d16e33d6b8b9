//! Where a sandbox is asked to be.

use super::error::{Failure, Reply};
use crate::{limits, store::Placement};

/// What a request says of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) region: Option<&'a str>,
    pub(crate) failover_regions: Option<&'a [String]>,
    /// None within is for no network.
    pub(crate) network_id: Option<Option<&'a str>>,
}

impl Asked<'_> {
    /// What was before, with what is asked.
    pub(crate) fn over(self, mut before: Placement) -> Reply<Placement> {
        if let Some(region) = self.region {
            before.region = Some(parse("region", region)?);
        }
        if let Some(regions) = self.failover_regions {
            let max = limits::FAILOVER_REGIONS_MAX;
            if max < regions.len() {
                return Err(Failure::invalid(format!("`failoverRegions` may be {max} at most")));
            }
            let regions = regions.iter().map(|region| parse("failoverRegions", region));
            before.failover_regions = regions.collect::<Reply<_>>()?;
        }
        if before.region.as_ref().is_some_and(|region| before.failover_regions.contains(region)) {
            return Err(Failure::invalid("`failoverRegions` must not have `region` among them"));
        }
        if let Some(network) = self.network_id {
            before.network_id = network.map(network_id).transpose()?;
        }
        Ok(before)
    }
}

pub(crate) fn parse(field: &str, region: &str) -> Reply<String> {
    let max = limits::REGION_BYTES_MAX;
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match (1..=max).contains(&region.len()) && region.bytes().all(is_part) {
        true => Ok(region.to_owned()),
        false => {
            Err(Failure::invalid(format!("`{field}`: a region is 1 to {max} of a-z, 0-9 and `-`")))
        }
    }
}

fn network_id(id: &str) -> Reply<String> {
    let max = limits::NETWORK_ID_BYTES_MAX;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    match (1..=max).contains(&id.len()) && id.bytes().all(is_part) {
        true => Ok(id.to_owned()),
        false => Err(Failure::invalid(format!(
            "`networkId` must be 1 to {max} letters, digits, `_` or `-`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(before: &Placement, asked: Asked<'_>) -> Result<Placement, String> {
        asked.over(before.clone()).map_err(|Failure(refusal)| refusal.message)
    }

    #[test]
    fn what_is_asked_is_kept_and_what_is_not_stays() {
        let none = Placement::default();
        let regions = ["sfo1".to_owned(), "fra1".to_owned()];
        let all = Asked {
            region: Some("iad1"),
            failover_regions: Some(&regions),
            network_id: Some(Some("net_1")),
        };
        let all = over(&none, all).unwrap();
        assert_eq!(all.region.as_deref(), Some("iad1"));
        assert_eq!(all.failover_regions, regions);
        assert_eq!(all.network_id.as_deref(), Some("net_1"));
        assert_eq!(over(&all, Asked::default()).unwrap(), all);
        let fewer = Asked { region: None, failover_regions: Some(&[]), network_id: Some(None) };
        let expected = Placement { region: all.region.clone(), ..none };
        assert_eq!(over(&all, fewer).unwrap(), expected);
        let taken = Asked { region: Some("sfo1"), ..Asked::default() };
        assert!(over(&all, taken).unwrap_err().contains("`failoverRegions`"));
    }

    #[test]
    fn garbage_is_told_with_its_field() {
        let none = Placement::default();
        for bad in ["", "IAD1", "iad 1", "a/b", &"a".repeat(65)] {
            let asked = Asked { region: Some(bad), ..Asked::default() };
            assert!(over(&none, asked).unwrap_err().contains("`region`"), "{bad}");
            let regions = [bad.to_owned()];
            let asked = Asked { failover_regions: Some(&regions), ..Asked::default() };
            assert!(over(&none, asked).unwrap_err().contains("`failoverRegions`"), "{bad}");
        }
        let many = vec!["iad1".to_owned(); 21];
        let asked = Asked { failover_regions: Some(&many), ..Asked::default() };
        assert!(over(&none, asked).unwrap_err().contains("20 at most"));
        for bad in ["", "net 1", "net.1", &"a".repeat(129)] {
            let asked = Asked { network_id: Some(Some(bad)), ..Asked::default() };
            assert!(over(&none, asked).unwrap_err().contains("`networkId`"), "{bad}");
        }
    }
}
