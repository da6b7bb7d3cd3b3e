//! `.pickle`: NumPy arrays in lists, tuples and dictionaries, as Theano's and Lasagne's users kept
//! their parameters.
//!
//! A pickle is a program for a stack machine. Only what builds containers, numbers, text and plain
//! arrays is understood (protocols 3 and 4, and 2 as Python 2 wrote it); nothing is imported and
//! nothing is called.

use super::{Tensors, numpy};
use burn::tensor::TensorData;
use menagerie_core::{Error, Result};
use std::{collections::HashMap, path::Path};

/// How deep containers may lie in each other.
const DEPTH: usize = 16;

pub(crate) fn read(path: &Path) -> Result<Tensors> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let malformed = |problem: String| {
        Error::format(
            path,
            format!("{problem}; expected pickled NumPy arrays in a list, tuple or dictionary"),
        )
    };
    let mut machine = Machine::new(&bytes);
    let root = machine.run().map_err(malformed)?;
    let mut tensors = Tensors::new();
    machine
        .collect(&root, String::new(), 0, &mut tensors)
        .map_err(malformed)?;
    if tensors.is_empty() {
        return Err(malformed("holds no arrays".into()));
    }
    Ok(tensors)
}

/// A value on the stack; containers and arrays are kept aside, so that a later instruction can fill
/// what an earlier one has already noted down.
#[derive(Clone, Debug)]
enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// Module and name, joined with a space.
    Global(String),
    Tuple(Vec<Value<'a>>),
    Object(usize),
}

#[derive(Clone, Debug)]
enum Object<'a> {
    List(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    /// The type without its order of bytes, and the order.
    Dtype(&'a str, &'a str),
    /// `None` until its state is set.
    Array(Option<TensorData>),
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value<'a>>,
    marks: Vec<usize>,
    memo: HashMap<u64, Value<'a>>,
    objects: Vec<Object<'a>>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            objects: Vec::new(),
        }
    }

    /// Runs to the end and gives what is on top.
    fn run(&mut self) -> Result<Value<'a>, String> {
        loop {
            let code = self.take(1)?[0];
            match code {
                b'.' => return self.pop(),
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'(' => self.marks.push(self.stack.len()),
                b']' => self.create(Object::List(Vec::new())),
                b'}' => self.create(Object::Dict(Vec::new())),
                b')' => self.stack.push(Value::Tuple(Vec::new())),
                b'N' => self.stack.push(Value::None),
                0x88 => self.stack.push(Value::Bool(true)),
                0x89 => self.stack.push(Value::Bool(false)),
                b'K' | b'M' | b'J' | 0x8a => self.integer(code)?,
                b'X' | 0x8c | 0x8d => self.text(code)?,
                b'B' | b'C' | b'U' | b'T' | 0x8e => self.bytes(code)?,
                b'q' | b'r' | 0x94 => self.memoize(code)?,
                b'h' | b'j' => {
                    let width = if code == b'h' { 1 } else { 4 };
                    let key = self.number(width)?;
                    let value = self.memo.get(&key).cloned();
                    self.stack
                        .push(value.ok_or("refers to what it has not noted")?);
                }
                b't' | b'l' => {
                    let items = self.marked()?;
                    match code {
                        b't' => self.stack.push(Value::Tuple(items)),
                        _ => self.create(Object::List(items)),
                    }
                }
                0x85..=0x87 => {
                    let start = self.position(usize::from(code - 0x84))?;
                    let items = self.stack.split_off(start);
                    self.stack.push(Value::Tuple(items));
                }
                b'a' | b'e' => self.append(code)?,
                b's' | b'u' => self.set(code)?,
                b'c' | 0x93 => self.global(code)?,
                b'R' => self.reduce()?,
                b'b' => self.build()?,
                other => return Err(format!("uses the instruction {other:#04x}")),
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("is cut short")?;
        self.rest = rest;
        Ok(taken)
    }

    /// An unsigned little-endian number of up to 8 bytes.
    fn number(&mut self, width: usize) -> Result<u64, String> {
        let bytes = self.take(width)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, width: usize) -> Result<&'a [u8], String> {
        let length = self.number(width)?;
        self.take(usize::try_from(length).map_err(|_| "is cut short")?)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let line = self.take(end.ok_or("is cut short")?)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| "holds a name that is not text".into())
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        self.stack.pop().ok_or_else(|| "empties its stack".into())
    }

    fn position(&self, count: usize) -> Result<usize, String> {
        let start = self.stack.len().checked_sub(count);
        start.ok_or_else(|| "empties its stack".into())
    }

    /// What was pushed since the last mark.
    fn marked(&mut self) -> Result<Vec<Value<'a>>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or("has no mark")?))
    }

    fn create(&mut self, object: Object<'a>) {
        self.objects.push(object);
        self.stack.push(Value::Object(self.objects.len() - 1));
    }

    fn integer(&mut self, code: u8) -> Result<(), String> {
        let value = match code {
            b'K' => self.number(1)? as i64,
            b'M' => self.number(2)? as i64,
            b'J' => i64::from(self.number(4)? as u32 as i32),
            _ => {
                let bytes = self.length(1)?;
                if bytes.len() > 8 {
                    return Err("holds a number beyond 64 bits".into());
                }
                let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                let fill = if negative { -1 } else { 0 };
                bytes
                    .iter()
                    .rev()
                    .fold(fill, |number, byte| number << 8 | i64::from(*byte))
            }
        };
        self.stack.push(Value::Int(value));
        Ok(())
    }

    fn text(&mut self, code: u8) -> Result<(), String> {
        let width = match code {
            0x8c => 1,
            b'X' => 4,
            _ => 8,
        };
        let text = std::str::from_utf8(self.length(width)?);
        self.stack.push(Value::Text(
            text.map_err(|_| "holds text that is not UTF-8")?,
        ));
        Ok(())
    }

    fn bytes(&mut self, code: u8) -> Result<(), String> {
        let width = match code {
            b'C' | b'U' => 1,
            b'B' | b'T' => 4,
            _ => 8,
        };
        let bytes = self.length(width)?;
        self.stack.push(Value::Bytes(bytes));
        Ok(())
    }

    fn memoize(&mut self, code: u8) -> Result<(), String> {
        let key = match code {
            b'q' => self.number(1)?,
            b'r' => self.number(4)?,
            _ => self.memo.len() as u64,
        };
        let top = self.stack.last().ok_or("empties its stack")?.clone();
        self.memo.insert(key, top);
        Ok(())
    }

    fn append(&mut self, code: u8) -> Result<(), String> {
        let items = match code {
            b'a' => vec![self.pop()?],
            _ => self.marked()?,
        };
        match self.stack.last() {
            Some(Value::Object(at)) => match self.objects.get_mut(*at) {
                Some(Object::List(list)) => list.extend(items),
                _ => return Err("appends to what is no list".into()),
            },
            _ => return Err("appends to what is no list".into()),
        }
        Ok(())
    }

    fn set(&mut self, code: u8) -> Result<(), String> {
        let items = match code {
            b's' => {
                let start = self.position(2)?;
                self.stack.split_off(start)
            }
            _ => self.marked()?,
        };
        let Some(Value::Object(at)) = self.stack.last() else {
            return Err("sets entries of what is no dictionary".into());
        };
        let Some(Object::Dict(entries)) = self.objects.get_mut(*at) else {
            return Err("sets entries of what is no dictionary".into());
        };
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            entries.push((key, value));
        }
        Ok(())
    }

    fn global(&mut self, code: u8) -> Result<(), String> {
        let name = if code == b'c' {
            format!("{} {}", self.line()?, self.line()?)
        } else {
            match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => format!("{module} {name}"),
                _ => return Err("names a function by what is no text".into()),
            }
        };
        self.stack.push(Value::Global(name));
        Ok(())
    }

    /// The few functions that make arrays and dictionaries; any other is an error.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Value::Tuple(arguments), Value::Global(name)) = (arguments, function) else {
            return Err("calls what is no function".into());
        };
        match (name.as_str(), arguments.as_slice()) {
            ("numpy.core.multiarray _reconstruct" | "numpy._core.multiarray _reconstruct", _) => {
                self.create(Object::Array(None));
            }
            ("numpy dtype", [Value::Text(descr), ..]) => {
                self.create(Object::Dtype(descr, "<"));
            }
            ("numpy dtype", [Value::Bytes(descr), ..]) => {
                let descr =
                    std::str::from_utf8(descr).map_err(|_| "holds a type that is no text")?;
                self.create(Object::Dtype(descr, "<"));
            }
            ("collections OrderedDict", []) => self.create(Object::Dict(Vec::new())),
            _ => return Err(format!("wants to call `{name}`")),
        }
        Ok(())
    }

    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let (Some(Value::Object(at)), Value::Tuple(state)) = (self.stack.last(), state) else {
            return Err("sets the state of what has none".into());
        };
        let at = *at;
        let built = match (self.objects.get(at), state.as_slice()) {
            (Some(Object::Dtype(descr, _)), [_, order, ..]) => {
                Object::Dtype(descr, self.order(order)?)
            }
            (
                Some(Object::Array(_)),
                [_, shape, Value::Object(dtype), fortran, Value::Bytes(data)],
            ) => {
                let Some(Object::Dtype(descr, order)) = self.objects.get(*dtype) else {
                    return Err("holds an array without a type".into());
                };
                let descr = format!("{order}{descr}");
                let column_major = matches!(fortran, Value::Bool(true) | Value::Int(1));
                let data = numpy::array(&descr, &extents(shape)?, column_major, data)?;
                Object::Array(Some(data))
            }
            (Some(Object::Array(_)), _) => {
                return Err("holds an array whose elements are no plain numbers".into());
            }
            _ => return Err("sets the state of what has none".into()),
        };
        if let Some(object) = self.objects.get_mut(at) {
            *object = built;
        }
        Ok(())
    }

    fn order(&self, order: &Value<'a>) -> Result<&'a str, String> {
        match order {
            Value::Text(order) => Ok(order),
            Value::Bytes(order) => {
                std::str::from_utf8(order).map_err(|_| "holds a type that is no text".into())
            }
            _ => Err("holds a type without an order of bytes".into()),
        }
    }

    /// The arrays of a value under their names: numbers in lists, keys in dictionaries, joined with
    /// dots. A lone array is called `0`.
    fn collect(
        &self,
        value: &Value<'a>,
        name: String,
        depth: usize,
        tensors: &mut Tensors,
    ) -> Result<(), String> {
        if depth > DEPTH {
            return Err(format!("holds containers more than {DEPTH} deep"));
        }
        let below = |inner: String| match name.as_str() {
            "" => inner,
            outer => format!("{outer}.{inner}"),
        };
        let object = match value {
            Value::Object(at) => self.objects.get(*at),
            _ => None,
        };
        match (value, object) {
            (Value::Tuple(items), _) | (_, Some(Object::List(items))) => {
                for (number, item) in items.iter().enumerate() {
                    self.collect(item, below(number.to_string()), depth + 1, tensors)?;
                }
            }
            (_, Some(Object::Dict(entries))) => {
                for (key, item) in entries {
                    let key = match key {
                        Value::Text(key) => (*key).to_owned(),
                        Value::Bytes(key) => String::from_utf8_lossy(key).into_owned(),
                        Value::Int(key) => key.to_string(),
                        _ => return Err("holds a dictionary whose keys are no names".into()),
                    };
                    self.collect(item, below(key), depth + 1, tensors)?;
                }
            }
            (_, Some(Object::Array(Some(data)))) => {
                let name = if name.is_empty() { "0".into() } else { name };
                tensors.insert(name, data.clone());
            }
            // Numbers and names beside the arrays.
            _ => {}
        }
        Ok(())
    }
}

fn extents(shape: &Value) -> Result<Vec<usize>, String> {
    let Value::Tuple(shape) = shape else {
        return Err("holds an array without a shape".into());
    };
    let extents = shape.iter().map(|extent| match extent {
        Value::Int(extent) => usize::try_from(*extent).ok(),
        _ => None,
    });
    let extents: Option<Vec<usize>> = extents.collect();
    extents.ok_or_else(|| "holds an array without a shape".into())
}
