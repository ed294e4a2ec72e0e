//! Who a message is for, by borrowed name, and what kind of name that is.

use crate::publication::Audience;

/// What kind of audience a name names. Users, and everyone, are rooms that
/// clients cannot name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Space {
    Everyone,
    Room,
    User,
}

/// Who a message is for, by borrowed name: an [`Audience`] that crosses no thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Everyone,
    Room(&'a str),
    User(&'a str),
}

impl<'a> Target<'a> {
    pub(crate) fn space(self) -> Space {
        match self {
            Self::Everyone => Space::Everyone,
            Self::Room(_) => Space::Room,
            Self::User(_) => Space::User,
        }
    }

    pub(crate) fn name(self) -> &'a str {
        match self {
            Self::Everyone => "",
            Self::Room(name) | Self::User(name) => name,
        }
    }

    /// What is called `name` in `space`.
    pub(crate) fn named(space: Space, name: &'a str) -> Self {
        match space {
            Space::Everyone => Self::Everyone,
            Space::Room => Self::Room(name),
            Space::User => Self::User(name),
        }
    }

    /// The same as a value that can cross threads.
    pub(crate) fn to_audience(self) -> Audience {
        match self {
            Self::Everyone => Audience::Everyone,
            Self::Room(name) => Audience::Room(name.into()),
            Self::User(name) => Audience::User(name.into()),
        }
    }

    pub(crate) fn of(audience: &'a Audience) -> Self {
        match audience {
            Audience::Everyone => Self::Everyone,
            Audience::Room(name) => Self::Room(name),
            Audience::User(name) => Self::User(name),
        }
    }
}
