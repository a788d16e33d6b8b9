//! What the extractors and refusals of this crate are in the description.

use aide::{
    OperationInput, OperationOutput,
    generate::GenContext,
    openapi::{Operation, Response},
    operation::{ParamLocation, add_parameters, parameters_from_schema},
};
use axum::Json;
use schemars::JsonSchema;

use crate::http::{
    Administrator, Reader, Server,
    error::Failure,
    json::{Body400, MaybeBody400, Query400},
    visit::ProjectQuery,
};

fn query<T: JsonSchema>(context: &mut GenContext, operation: &mut Operation) {
    let schema = context.schema.subschema_for::<T>();
    let parameters = parameters_from_schema(context, schema, ParamLocation::Query);
    let new = parameters.into_iter().filter(|one| {
        let name = &one.parameter_data_ref().name;
        let known = operation.parameters.iter().filter_map(|known| known.as_item());
        !known.into_iter().any(|known| known.parameter_data_ref().name == *name)
    });
    let new: Vec<_> = new.collect();
    add_parameters(context, operation, new);
}

impl<T: JsonSchema> OperationInput for Query400<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        query::<T>(context, operation);
    }
}

impl<T: JsonSchema> OperationInput for Body400<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Json::<T>::operation_input(context, operation);
    }
}

impl<T: JsonSchema> OperationInput for MaybeBody400<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Json::<T>::operation_input(context, operation);
        if let Some(body) = operation.request_body.as_mut().and_then(|body| body.as_item_mut()) {
            body.required = false;
        }
    }
}

impl OperationInput for Server {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        query::<ProjectQuery>(context, operation);
    }
}

impl OperationInput for Reader {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Server::operation_input(context, operation);
    }
}

impl OperationInput for Administrator {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Server::operation_input(context, operation);
    }
}

impl OperationOutput for Failure {
    type Inner = api::ErrorBody;

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, Response)> {
        let refused = Json::<api::ErrorBody>::operation_response(context, operation);
        refused.into_iter().map(|response| (None, response)).collect()
    }
}
