//! `#[derive(Message)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, LitInt, LitStr, Path, Result, Type, spanned::Spanned};

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let name = &input.ident;
    let (impl_generics, ty_generics, where_clause) = input.generics.split_for_impl();
    let result = result_type(input)?;
    let wire = input.attrs.iter().find(|attribute| attribute.path().is_ident("wire"));
    let names = match wire {
        Some(attribute) => Some(WireNames::from_attribute(attribute)?),
        None => None,
    };
    let root = names.as_ref().map_or_else(default_root, |names| names.root.clone());

    let message = quote! {
        impl #impl_generics #root::__private::actix::Message for #name #ty_generics #where_clause {
            type Result = #result;
        }
    };
    let Some(WireNames { name: wire_name, version, root }) = names else {
        return Ok(message);
    };
    if !input.generics.params.is_empty() {
        return Err(Error::new(
            input.generics.span(),
            "a wire message takes no generic parameters: its name stands for one type",
        ));
    }
    Ok(quote! {
        #message
        impl #root::WireMessage for #name {
            const NAME: &'static str = #wire_name;
            const VERSION: u16 = #version;
        }
    })
}

/// What `#[wire(..)]` or `#[task(..)]` says.
pub(crate) struct WireNames {
    pub(crate) name: LitStr,
    pub(crate) version: u16,
    pub(crate) root: Path,
}

impl WireNames {
    fn from_attribute(attribute: &syn::Attribute) -> Result<WireNames> {
        let mut parts = WireParts::default();
        attribute.parse_nested_meta(|meta| parts.take(&meta))?;
        parts.finish(attribute.span())
    }

    /// Only `crate = ".."`, for macros that need no name.
    pub(crate) fn root_from_tokens(tokens: TokenStream) -> Result<Path> {
        let mut parts = WireParts::default();
        let parser = syn::meta::parser(|meta| parts.take(&meta));
        syn::parse::Parser::parse2(parser, tokens)?;
        Ok(parts.root.unwrap_or_else(default_root))
    }

    pub(crate) fn from_tokens(tokens: TokenStream) -> Result<WireNames> {
        let span = tokens.span();
        let mut parts = WireParts::default();
        let parser = syn::meta::parser(|meta| parts.take(&meta));
        syn::parse::Parser::parse2(parser, tokens)?;
        parts.finish(span)
    }
}

#[derive(Default)]
struct WireParts {
    name: Option<LitStr>,
    version: Option<u16>,
    root: Option<Path>,
}

impl WireParts {
    fn take(&mut self, meta: &syn::meta::ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("name") {
            let literal: LitStr = meta.value()?.parse()?;
            check_name(&literal)?;
            self.name = Some(literal);
        } else if meta.path.is_ident("version") {
            let literal: LitInt = meta.value()?.parse()?;
            self.version = Some(literal.base10_parse()?);
        } else if meta.path.is_ident("crate") {
            let literal: LitStr = meta.value()?.parse()?;
            self.root = Some(literal.parse()?);
        } else {
            return Err(meta.error("expected `name = \"..\"`, `version = N` or `crate = \"..\"`"));
        }
        Ok(())
    }

    fn finish(self, span: proc_macro2::Span) -> Result<WireNames> {
        let name = self.name.ok_or_else(|| {
            Error::new(span, "a stable name is missing: write `name = \"chat.post\"`")
        })?;
        Ok(WireNames {
            name,
            version: self.version.unwrap_or(1),
            root: self.root.unwrap_or_else(default_root),
        })
    }
}

fn check_name(literal: &LitStr) -> Result<()> {
    let text = literal.value();
    let fits = (1..=96).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'));
    if fits {
        return Ok(());
    }
    Err(Error::new(
        literal.span(),
        format!("wire name {text:?}: a name is 1 to 96 characters of [a-z0-9_.-]"),
    ))
}

fn default_root() -> Path {
    syn::parse_quote!(::fedist)
}

/// Reads actix's own attribute: `#[rtype(result = "T")]` or `#[rtype(T)]`.
fn result_type(input: &DeriveInput) -> Result<Type> {
    let Some(attribute) = input.attrs.iter().find(|attribute| attribute.path().is_ident("rtype"))
    else {
        return Ok(syn::parse_quote!(()));
    };
    let mut named = None;
    let as_pair = attribute.parse_nested_meta(|meta| {
        if meta.path.is_ident("result") {
            let literal: LitStr = meta.value()?.parse()?;
            named = Some(literal.parse::<Type>()?);
            return Ok(());
        }
        Err(meta.error("expected `result = \"Type\"`"))
    });
    match named {
        Some(ty) => as_pair.map(|()| ty),
        None => attribute.parse_args::<Type>(),
    }
}
