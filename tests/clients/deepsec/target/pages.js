export function show(request, reply) {
  reply.send(eval(request.query.expression));
}
