//! YAML, as events of `saphyr-parser`: scalars keep their text, so `no` is `no`
//! and `0755` is `0755`. Anchors and aliases are refused: they are how a small
//! file becomes a large one.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span as Stretch};

use super::Leaves;
use crate::model::origin::Span;
use crate::model::secret::SecretValue;

pub(super) fn walk(text: &str, leaves: &mut Leaves<'_>) {
    let mut walker = Walker { parser: Parser::new_from_str(text), leaves };
    // Every fault is recorded where it is found; the walk ends at the first one
    // that leaves the structure unclear.
    let _ended = walker.document();
}

struct Walker<'t, 'l, 's> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    leaves: &'l mut Leaves<'s>,
}

/// The walk cannot go on; the fault is recorded.
struct Stop;

impl<'t> Walker<'t, '_, '_> {
    fn next(&mut self) -> Result<(Event<'t>, Stretch), Stop> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                // The crate's message may quote the text; the place says enough.
                let at = place(error.marker());
                Err(self.stop(at, "this is not valid YAML", "correct the syntax or the indentation here"))
            }
            None => Ok((Event::StreamEnd, Stretch::empty(Marker::new(0, 1, 0)))),
        }
    }

    fn stop(&mut self, at: Span, message: &str, help: &str) -> Stop {
        self.leaves.fault(at, message.into(), help);
        Stop
    }

    fn document(&mut self) -> Result<(), Stop> {
        let mut documents = 0;
        loop {
            let (event, stretch) = self.next()?;
            let at = place(&stretch.start);
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(self.stop(
                            at,
                            "the file holds more than one document",
                            "keep one: sources are layered by the settings, not within a file",
                        ));
                    }
                }
                Event::MappingStart(anchor, _) => {
                    self.refuse_anchor(anchor, at)?;
                    self.mapping()?;
                }
                Event::Scalar(text, ScalarStyle::Plain, ..) if is_null(&text) => {}
                Event::Scalar(..) | Event::SequenceStart(..) | Event::Alias(_) => {
                    return Err(self.stop(at, "a configuration is one mapping", "write `NAME: value` lines"));
                }
                _ => {}
            }
        }
    }

    fn refuse_anchor(&mut self, anchor: usize, at: Span) -> Result<(), Stop> {
        if anchor == 0 {
            return Ok(());
        }
        Err(self.stop(at, "anchors and aliases are not read", "write the value out where it is used"))
    }

    /// The fields up to the mapping's end.
    fn mapping(&mut self) -> Result<(), Stop> {
        loop {
            let (event, stretch) = self.next()?;
            let at = place(&stretch.start);
            let name = match event {
                Event::MappingEnd => return Ok(()),
                Event::Scalar(name, _, anchor, _) => {
                    self.refuse_anchor(anchor, at)?;
                    name
                }
                Event::Alias(_) => {
                    self.refuse_anchor(1, at)?;
                    continue;
                }
                _ => return Err(self.stop(at, "a key must be a plain name", "write `NAME: value`")),
            };
            if !self.leaves.enter(&name, at) {
                return Err(Stop);
            }
            self.value()?;
            self.leaves.leave();
        }
    }

    fn value(&mut self) -> Result<(), Stop> {
        let (event, stretch) = self.next()?;
        let at = place(&stretch.start);
        match event {
            Event::Scalar(text, style, anchor, _) => {
                self.refuse_anchor(anchor, at)?;
                if style == ScalarStyle::Plain && is_null(&text) {
                    return Ok(());
                }
                let written = (style == ScalarStyle::Plain && !text.contains('\n')).then(|| text.as_ref());
                self.leaves.scalar(text.as_ref().to_owned(), at, written);
                Ok(())
            }
            Event::MappingStart(anchor, _) => {
                self.refuse_anchor(anchor, at)?;
                self.mapping()
            }
            Event::SequenceStart(anchor, _) => {
                self.refuse_anchor(anchor, at)?;
                self.sequence(at)
            }
            Event::Alias(_) => self.refuse_anchor(1, at),
            _ => Err(self.stop(at, "this key has no value", "write `NAME: value`")),
        }
    }

    fn sequence(&mut self, start: Span) -> Result<(), Stop> {
        let mut items = Vec::new();
        loop {
            let (event, stretch) = self.next()?;
            let at = place(&stretch.start);
            match event {
                Event::SequenceEnd => {
                    self.leaves.list(&items, start);
                    return Ok(());
                }
                Event::Scalar(text, _, anchor, _) => {
                    self.refuse_anchor(anchor, at)?;
                    items.push(SecretValue::from(text.as_ref()));
                }
                Event::Alias(_) => self.refuse_anchor(1, at)?,
                _ => {
                    self.leaves.nested_list(at);
                    return Err(Stop);
                }
            }
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn place(marker: &Marker) -> Span {
    let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Span { line: narrow(marker.line()).max(1), column: narrow(marker.col()).saturating_add(1) }
}
