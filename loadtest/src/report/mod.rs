//! Results for readers: every [`Outcome`](crate::outcome::Outcome) as a table, as
//! JSON, as a page with plots and as a picture, each with the circumstances in
//! which it was found. Knows how results look, not how they are found.

mod html;
mod json;
mod picture;
mod plot;
mod plots;
mod quantity;
mod table;

pub(crate) use html::write_html;
pub(crate) use json::write_json;
pub(crate) use picture::write_png;
pub(crate) use quantity::{time_text, value_text};
