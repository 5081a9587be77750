mod bounds;
mod damage;
mod mixing;
mod round_trip;
mod vectors;

use zeroize::Zeroizing;

use super::*;

fn key(byte: u8) -> Key {
    Key::new(Zeroizing::new(vec![byte; 32])).unwrap()
}

fn passphrase(text: &str) -> Key {
    Key::Passphrase(Zeroizing::new(text.to_owned()))
}

fn state(generation: u64) -> State {
    State { generation, written: 1_795_000_000, ..State::default() }
}

const JWT: Piece<'static> = Piece::New(Some("JWT_SECRET"), b"JWT_SECRET=hunter2\n");
const DB: Piece<'static> = Piece::New(Some("DB"), b"DB=tiger\n");
const COMMENT: Piece<'static> = Piece::New(None, b"# a comment\n");

fn sealed_with(keys: &[&Key], pieces: &[Piece<'_>]) -> Container {
    Container::seal(Purpose::File, keys, state(7), pieces, &mut Kernel).unwrap()
}

/// A small file of three entries.
fn sealed(keys: &[&Key]) -> Container {
    sealed_with(keys, &[JWT, COMMENT, DB])
}

fn open(container: &Container, key: &Key) -> Opened {
    container.open(Purpose::File, key).unwrap_or_else(|error| panic!("{error}"))
}

/// Why it is not opened; fails where it is.
fn refused(container: &Container, key: &Key) -> OpenError {
    container.open(Purpose::File, key).err().expect("it must not open")
}

/// What is told of something altered.
fn altered(container: &Container) -> String {
    match refused(container, &key(1)) {
        OpenError::Altered(what) => what,
        other => panic!("{other}"),
    }
}
