import express from "express";
import { db } from "./db.js";

export const users = express.Router();

users.get("/users", async (request, reply) => {
  const found = await db.query("SELECT * FROM users WHERE name = '" + request.query.name + "'");
  reply.json(found.rows);
});
