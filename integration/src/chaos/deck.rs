//! Which faults come, and in which order.

use fastrand::Rng;
use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// SIGKILL of so many members at once; others take their place.
    Kill(usize),
    /// SIGSTOP of a member past all its deadlines, then SIGCONT.
    Freeze,
    /// SIGTERM of a member; another takes its place.
    TurnOver,
    /// One member more.
    Join,
    /// SIGTERM of one that is more than there need be.
    Leave,
    /// Each broker in turn hands over, stops and starts again.
    RollBrokers,
    /// SIGKILL of a broker, which comes back.
    KillBroker,
    /// Nobody reaches the table for a while.
    CutOff,
}

/// Faults that are still to come, the last one first.
pub(super) struct Deck(Vec<Fault>);

impl Deck {
    /// 20 kills, 5 freezes, 2 restarts of brokers, 3 cuts of the network, and 12 comings and goings.
    pub(super) fn shuffled(random: &mut Rng) -> Self {
        let kills = [3, 3, 3, 3, 2, 2, 2, 1, 1].map(Fault::Kill);
        let once = [Fault::RollBrokers, Fault::KillBroker];
        let mut deck = kills.to_vec();
        deck.extend(once);
        deck.extend([Fault::Freeze; 5]);
        deck.extend([Fault::CutOff; 3]);
        deck.extend([Fault::TurnOver; 6]);
        deck.extend([Fault::Join; 3]);
        deck.extend([Fault::Leave; 3]);
        random.shuffle(&mut deck);
        Self(deck)
    }

    pub(super) fn draw(&mut self) -> Option<Fault> {
        self.0.pop()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(1) => f.write_str("a member is killed"),
            Self::Kill(count) => write!(f, "{count} members are killed"),
            Self::Freeze => f.write_str("a member is frozen"),
            Self::TurnOver => f.write_str("a member is stopped and replaced"),
            Self::Join => f.write_str("a member joins"),
            Self::Leave => f.write_str("a member leaves"),
            Self::RollBrokers => f.write_str("the brokers are restarted in turn"),
            Self::KillBroker => f.write_str("a broker is killed"),
            Self::CutOff => f.write_str("the table is out of reach"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64) -> Vec<Fault> {
        let mut deck = Deck::shuffled(&mut Rng::with_seed(seed));
        std::iter::from_fn(|| deck.draw()).collect()
    }

    #[test]
    fn a_deck_has_what_it_promises_in_an_order_of_its_seed() {
        let count = |wanted: Fault| drawn(1).into_iter().filter(|f| *f == wanted).count();
        let kills = drawn(1).into_iter().map(|fault| match fault {
            Fault::Kill(count) => count,
            Fault::Freeze
            | Fault::TurnOver
            | Fault::Join
            | Fault::Leave
            | Fault::RollBrokers
            | Fault::KillBroker
            | Fault::CutOff => 0,
        });
        assert_eq!(kills.sum::<usize>(), 20);
        assert_eq!(count(Fault::Freeze), 5);
        assert_eq!(count(Fault::RollBrokers) + count(Fault::KillBroker), 2);
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }
}
