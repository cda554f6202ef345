//! `#[async_handler]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, GenericArgument, ItemImpl, PathArguments, Result, spanned::Spanned};

use crate::message::WireNames;

pub(crate) fn expand(attributes: TokenStream, item: &ItemImpl) -> Result<TokenStream> {
    let root = WireNames::root_from_tokens(attributes)?;
    let wrong = || {
        Error::new(item.span(), "`#[async_handler]` goes on `impl AsyncHandler<Message> for Actor`")
    };
    let (_, path, _) = item.trait_.as_ref().ok_or_else(wrong)?;
    let segment = path.segments.last().filter(|last| last.ident == "AsyncHandler");
    let PathArguments::AngleBracketed(arguments) = &segment.ok_or_else(wrong)?.arguments else {
        return Err(wrong());
    };
    let Some(GenericArgument::Type(message)) = arguments.args.first() else {
        return Err(wrong());
    };
    let (actor, generics) = (&item.self_ty, &item.generics);
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    Ok(quote! {
        #item

        impl #impl_generics #root::__private::actix::Handler<#message> for #actor #where_clause {
            type Result = #root::__private::AsyncResponse<#message>;

            fn handle(
                &mut self,
                message: #message,
                _: &mut #root::Context<Self>,
            ) -> Self::Result {
                #root::__private::AsyncResponse(message)
            }
        }
    })
}
