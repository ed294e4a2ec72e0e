//! A publication as it is written, and its payload. Knows no other message.

use bytes::Bytes;

use super::{
    cursor::{Malformed, Reader, Writer},
    head::{Number, head},
};
use crate::{
    copy::append,
    id::ClientId,
    publication::{Audience, Data, Form, Publication},
};

/// The kind of a message with one publication.
pub(super) const PUBLICATION: u8 = 1;

/// A publication, and the member that it is not for.
pub type Delivery = (Publication, Option<ClientId>);

/// A publication as `node` sends it alone.
pub fn encode_publication(node: u64, number: Number, publication: &Publication) -> Bytes {
    let mut writer = Writer(Vec::with_capacity(encoded_bytes(publication)));
    head(&mut writer, PUBLICATION, node, number);
    encode_body(&mut writer, node, publication);
    writer.0.into()
}

/// About as many bytes as an encoded publication has.
pub fn encoded_bytes(publication: &Publication) -> usize {
    let Publication { event, data, user, key, .. } = publication;
    let len = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
    96 + event.len() + len(user) + len(key) + data.bytes().len()
}

pub(super) fn encode_body(writer: &mut Writer, node: u64, publication: &Publication) {
    let Publication { event, data, from, user, except, key, timestamp_ms, .. } = publication;
    let flag = |is_there: bool, bit: u8| u8::from(is_there) << bit;
    let flags = flag(from.is_some(), 2) | flag(user.is_some(), 3);
    let flags = flags | flag(except.is_some(), 4) | flag(key.is_some(), 5);
    writer.byte(form_bits(data.form()) | flags);
    writer.text(event);
    if let Some(from) = from {
        writer.wide(from.to_u128());
    }
    if let Some(user) = user {
        writer.text(user);
    }
    if let Some(conn) = except {
        writer.wide(ClientId::new(node, *conn).to_u128());
    }
    if let Some(key) = key {
        writer.text(key);
    }
    writer.number(*timestamp_ms);
    append(&mut writer.0, data.bytes());
}

pub(super) fn form_bits(form: Form) -> u8 {
    match form {
        Form::Absent => 0,
        Form::Json => 1,
        Form::Text => 2,
        Form::Binary => 3,
    }
}

/// The payload to the end. Text is checked, since what is here told to be text is believed
/// everywhere; that JSON is valid the sending node has checked.
pub(super) fn data(reader: &mut Reader<'_>, form: u8) -> Result<Data, Malformed> {
    let form = [Form::Absent, Form::Json, Form::Text, Form::Binary][usize::from(form & 3)];
    let bytes = reader.rest();
    let is_right = match form {
        Form::Absent => bytes.is_empty(),
        Form::Json => !bytes.is_empty() && simdutf8::basic::from_utf8(&bytes).is_ok(),
        Form::Text => simdutf8::basic::from_utf8(&bytes).is_ok(),
        Form::Binary => true,
    };
    if is_right { Ok(Data::trusted(form, bytes)) } else { Err(Malformed) }
}

pub(super) fn client(reader: &mut Reader<'_>) -> Result<ClientId, Malformed> {
    reader.wide().map(ClientId::from_u128)
}

pub(super) fn publication(
    reader: &mut Reader<'_>,
    audience: Audience,
) -> Result<Delivery, Malformed> {
    let flags = reader.byte()?;
    if flags >> 6 != 0 {
        return Err(Malformed);
    }
    let has = |bit: u8| flags >> bit & 1 == 1;
    let event = reader.text()?;
    let from = has(2).then(|| client(reader)).transpose()?;
    let user = has(3).then(|| reader.text()).transpose()?;
    let except = has(4).then(|| client(reader)).transpose()?;
    let key = has(5).then(|| reader.text()).transpose()?;
    let timestamp_ms = reader.number()?;
    let data = data(reader, flags)?;
    let mut publication = Publication::new(audience, event, data, timestamp_ms);
    publication.from = from;
    publication.user = user.map(Into::into);
    publication.key = key.map(Into::into);
    Ok((publication, except))
}
