import { exec } from "node:child_process";
import express from "express";

export const tools = express.Router();

tools.get("/ping", (request, reply) => {
  exec(`ping -c 1 ${request.query.host}`, (_error, stdout) => reply.send(stdout));
});
