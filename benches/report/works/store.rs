//! The key-value store of the examples, beside a plain server.

use crate::cores::Places;
use crate::store::{forwarder, get, plain_server, region};
use crate::work::{CPU, Cast, Figure, Group, KILO_RATE, P50, P99, SPAN, Work};

pub(crate) const GROUP: Group = Group {
    name: "store",
    title: "A key-value store, beside a plain server and a forwarder",
    works: &[
        Work {
            name: "kv-local",
            places: Places::TwoCores,
            span: SPAN,
            floor: Some(Cast { servers: &[plain_server], client: get }),
            fedist: Cast { servers: &[region], client: get },
            figures: &[
                Figure::new(P50, "GET at the bucket's home, one client, p50", "µs"),
                Figure::new(P99, "the same, p99", "µs"),
                Figure::new(KILO_RATE, "GET at the bucket's home, 50 clients", "k/s"),
                Figure::new(CPU, "the same, CPU of all", "µs"),
            ],
        },
        Work {
            name: "kv-link",
            places: Places::TwoCores,
            span: SPAN,
            floor: Some(Cast { servers: &[plain_server, forwarder], client: get }),
            fedist: Cast { servers: &[region, region], client: get },
            figures: &[
                Figure::new(P50, "GET over one link, one client, p50", "µs"),
                Figure::new(P99, "the same, p99", "µs"),
                Figure::new(KILO_RATE, "GET over one link, 50 clients", "k/s"),
                Figure::new(CPU, "the same, CPU of all", "µs"),
            ],
        },
    ],
};
