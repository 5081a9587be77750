//! Who may connect when many do.
//!
//! Pure, but for the clock that `Exchanges` looks at. Invariants: nobody has more than its share; who asks nothing gives way to
//! who comes, first of the same user, and of another only where that one has more;
//! where all ask something, who has most gives way to another user that has fewer,
//! so that many users together keep nobody out; nobody's only connection gives way
//! to another user's.
//! Must not know: what a connection is.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Connections that give way to others of their own user, in a second.
const MOST_EXCHANGES: u32 = 200;

/// Whose a connection is: a user of this machine, or somebody who came from
/// elsewhere.
pub(super) type User = Option<u32>;

/// Which connection: a user's, and numbered in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    user: User,
    number: u64,
}

impl Place {
    /// Whether it is this user's.
    pub(super) fn is_of(self, user: User) -> bool {
        self.user == user
    }
}

/// How many connections gave way to others of their own user within this second. No
/// program needs many; who opens thousands would have each looked at closely.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    second: Option<Instant>,
    count: u32,
}

impl Exchanges {
    /// Whether one more may.
    pub(super) fn one_more(&mut self) -> bool {
        let now = Instant::now();
        if self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            (self.second, self.count) = (Some(now), 0);
        }
        self.count += 1;
        self.count <= MOST_EXCHANGES
    }
}

/// Whether one more may come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room.
    Free,
    /// There is, once this one is gone.
    InsteadOf(Place),
    /// There is none.
    None,
}

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Places<T> {
    most: usize,
    most_of_a_user: usize,
    taken: usize,
    next: u64,
    /// Of each user, the oldest first.
    of: BTreeMap<User, BTreeMap<u64, T>>,
}

impl<T> Places<T> {
    /// With nobody there.
    pub(super) fn new(most: usize, most_of_a_user: usize) -> Self {
        Self { most, most_of_a_user, taken: 0, next: 0, of: BTreeMap::new() }
    }

    /// The number of the one who comes next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Whether one more of this user may come.
    pub(super) fn room(&self, user: User, is_busy: impl Fn(&T) -> bool) -> Room {
        let idle = |user: User| {
            let (number, _) = self.of.get(&user)?.iter().find(|(_, held)| !is_busy(held))?;
            Some(Place { user, number: *number })
        };
        let own = self.count(user);
        if user.is_some() && own >= self.most_of_a_user {
            return idle(user).map_or(Room::None, Room::InsteadOf);
        }
        if self.taken < self.most {
            return Room::Free;
        }
        let may_give_way = |other: &User| *other == user || self.count(*other) > own.max(1);
        let mut others: Vec<User> = self.of.keys().copied().filter(may_give_way).collect();
        others.sort_by_key(|other| Reverse(self.count(*other)));
        let busy = || {
            // One more than the other is as many once this one came.
            let most = others.first().copied().filter(|most| self.count(*most) > own + 1)?;
            let (number, _) = self.of.get(&most)?.first_key_value()?;
            Some(Place { user: most, number: *number })
        };
        others.iter().copied().find_map(idle).or_else(busy).map_or(Room::None, Room::InsteadOf)
    }

    fn count(&self, user: User) -> usize {
        self.of.get(&user).map_or(0, BTreeMap::len)
    }

    /// Somebody comes.
    pub(super) fn take(&mut self, user: User, held: T) -> Place {
        let number = self.next;
        self.next += 1;
        self.taken += 1;
        self.of.entry(user).or_default().insert(number, held);
        Place { user, number }
    }

    /// Somebody is gone, or is to go.
    pub(super) fn leave(&mut self, place: Place) -> Option<T> {
        let places = self.of.get_mut(&place.user)?;
        let left = places.remove(&place.number)?;
        if places.is_empty() {
            self.of.remove(&place.user);
        }
        self.taken -= 1;
        Some(left)
    }

    /// Who is there.
    pub(super) fn get(&self, place: Place) -> Option<&T> {
        self.of.get(&place.user)?.get(&place.number)
    }

    /// Everybody.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &T)> {
        self.of.iter().flat_map(|(user, places)| {
            places.iter().map(|(number, held)| (Place { user: *user, number: *number }, held))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections in their order, `(user, is busy)`, and what becomes of one more of
    /// `user`: which of them, by its index, gives way.
    fn check(
        most: usize,
        of_a_user: usize,
        open: &[(u32, bool)],
        user: u32,
        expected: Result<Option<usize>, ()>,
    ) {
        let mut places = Places::new(most, of_a_user);
        let taken: Vec<Place> = open.iter().map(|(user, busy)| places.take(Some(*user), *busy)).collect();
        let room = match places.room(Some(user), |busy| *busy) {
            Room::Free => Ok(None),
            Room::InsteadOf(place) => Ok(taken.iter().position(|other| *other == place)),
            Room::None => Err(()),
        };
        assert_eq!(room, expected, "{open:?}, then {user}");
    }

    #[test]
    fn a_user_has_its_share_and_no_more() {
        check(9, 2, &[], 1, Ok(None));
        check(9, 2, &[(1, false)], 1, Ok(None));
        check(9, 2, &[(1, false), (1, false)], 1, Ok(Some(0)));
        check(9, 2, &[(1, true), (1, false)], 1, Ok(Some(1)));
        check(9, 2, &[(1, true), (1, true)], 1, Err(()));
        check(9, 2, &[(1, true), (1, true), (2, false)], 1, Err(()));
        check(9, 2, &[(1, false), (1, false)], 2, Ok(None));
    }

    #[test]
    fn who_has_most_gives_way() {
        check(4, 3, &[(1, false), (2, false), (2, false), (2, false)], 3, Ok(Some(1)));
        check(4, 3, &[(1, false), (2, true), (2, false), (2, false)], 3, Ok(Some(2)));
        // Of its own, where it is the one that has most.
        check(4, 4, &[(1, false), (2, false), (2, false), (2, false)], 2, Ok(Some(1)));
        // Those that have most are asked for something: of the next.
        check(5, 3, &[(1, true), (1, true), (1, true), (2, true), (2, false)], 3, Ok(Some(4)));
        // But not of one that has no more than who comes.
        check(5, 3, &[(1, true), (1, true), (2, true), (2, false), (3, true)], 1, Err(()));
    }

    #[test]
    fn users_together_keep_nobody_out() {
        let busy = |users: &[u32]| users.iter().map(|user| (*user, true)).collect::<Vec<_>>();
        check(4, 2, &busy(&[1, 2, 2, 1]), 3, Ok(Some(0)));
        check(5, 3, &busy(&[1, 2, 1, 2, 2]), 3, Ok(Some(1)));
        check(5, 3, &busy(&[1, 3, 1, 1, 3]), 3, Err(()));
        check(6, 4, &busy(&[1, 3, 1, 1, 3, 1]), 3, Ok(Some(0)));
        // Rather one of which nothing is asked.
        check(5, 3, &[(1, true), (1, true), (1, true), (2, true), (2, false)], 3, Ok(Some(4)));
        // Nobody's only one, and none from elsewhere, where nobody has a name.
        check(2, 2, &busy(&[1, 2]), 3, Err(()));
        check(2, 2, &busy(&[1, 1]), 1, Err(()));
    }

    #[test]
    fn an_only_one_gives_way_to_nobody_else() {
        check(2, 2, &[(1, false), (2, false)], 3, Err(()));
        check(2, 2, &[(1, false), (2, false)], 1, Ok(Some(0)));
        check(2, 2, &[(1, true), (2, false)], 1, Err(()));
    }

    #[test]
    fn from_elsewhere_only_the_whole_counts() {
        let mut places = Places::new(3, 1);
        let first = places.take(None, ());
        for _ in 0..2 {
            assert_eq!(places.room(None, |()| false), Room::Free);
            places.take(None, ());
        }
        assert_eq!(places.room(None, |()| false), Room::InsteadOf(first));
        assert!(places.leave(first).is_some() && places.leave(first).is_none());
        assert_eq!((places.taken(), places.iter().count()), (2, 2));
        assert!(places.get(first).is_none());
    }
}
