//! What goes wrong between the DynamoDB store and its table while the conformance suite runs again.

use crate::{
    emulator::{Dynamodb, ENDPOINT},
    proxy::{Fault, Faults, Kind, Proxy, Rule},
};
use std::{io, time::Duration};

/// One kind of weather.
pub(crate) struct Weather {
    /// For people.
    pub(crate) what: &'static str,
    /// Every one of these must have happened, or the run says nothing.
    must: &'static [Kind],
    faults: fn(Faults) -> Faults,
}

/// A kind of weather at a time.
pub(crate) const ALL: [Weather; 6] = [
    Weather {
        what: "answers of writes are lost",
        must: &[Kind::ResponseDropped],
        faults: |faults| faults.rule(Rule::sometimes(Fault::DropResponse, 250).on_writes()),
    },
    Weather {
        what: "requests are lost",
        must: &[Kind::RequestDropped],
        faults: |faults| faults.rule(Rule::sometimes(Fault::DropRequest, 100)),
    },
    Weather {
        what: "requests and answers are late",
        must: &[Kind::RequestDelayed, Kind::ResponseDelayed],
        faults: |faults| {
            let most = Duration::from_millis(20);
            faults
                .rule(Rule::sometimes(Fault::DelayRequest(most), 300))
                .rule(Rule::sometimes(Fault::DelayResponse(most), 300))
        },
    },
    Weather {
        what: "the service fails, before a write or behind it",
        must: &[
            Kind::InternalError,
            Kind::InternalErrorAfterwards,
            Kind::Unavailable,
        ],
        faults: |faults| {
            faults
                .rule(Rule::sometimes(Fault::InternalErrorAfterwards, 100).on_writes())
                .rule(Rule::sometimes(Fault::InternalError, 100))
                .rule(Rule::sometimes(Fault::Unavailable, 100))
        },
    },
    Weather {
        what: "requests are throttled",
        must: &[Kind::Throttled],
        faults: |faults| {
            faults
                .rule(Rule::sometimes(Fault::Throttle, 150))
                .rule(Rule::sometimes(Fault::ThrottleProvisioned, 150))
        },
    },
    Weather {
        what: "transactions conflict, answers are lost, requests are late and throttled",
        must: &[Kind::Conflict, Kind::ResponseDropped, Kind::Throttled],
        faults: |faults| Faults {
            write_time_max: Duration::from_millis(10),
            ..faults
                .rule(Rule::sometimes(
                    Fault::DelayResponse(Duration::from_millis(20)),
                    300,
                ))
                .rule(Rule::sometimes(Fault::DropResponse, 100).on_writes())
                .rule(Rule::sometimes(Fault::Throttle, 100))
        },
    },
];

/// A proxy with a weather, and the environment for the tests that go through it.
pub(crate) struct Storm {
    proxy: Proxy,
    must: &'static [Kind],
    // Ends the emulator, where this one started it.
    _dynamodb: Dynamodb,
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Weather {
    /// # Errors
    /// When no emulator or no port is to be had.
    pub(crate) fn begin(&self) -> io::Result<Storm> {
        let dynamodb = Dynamodb::start_plain()?;
        let proxy = Proxy::start(dynamodb.endpoint(), (self.faults)(Faults::drawn()?))?;
        let environment = vec![
            (ENDPOINT, proxy.endpoint().to_owned()),
            (
                "LANEKEEPER_TEST_DYNAMODB_DIRECT",
                dynamodb.endpoint().to_owned(),
            ),
        ];
        Ok(Storm {
            proxy,
            must: self.must,
            _dynamodb: dynamodb,
            environment,
        })
    }
}

impl Storm {
    /// What happened, or which fault never did.
    pub(crate) fn end(&self) -> Result<String, String> {
        let counts = self.proxy.counts();
        let missing: Vec<Kind> = self
            .must
            .iter()
            .copied()
            .filter(|kind| counts.of(*kind) == 0)
            .collect();
        if !missing.is_empty() {
            return Err(format!("{missing:?} never happened: {}", self.proxy));
        }
        if counts.of(Kind::Invalid) > 0 {
            return Err(format!(
                "the store broke a limit of DynamoDB: {}",
                self.proxy
            ));
        }
        Ok(self.proxy.to_string())
    }
}
