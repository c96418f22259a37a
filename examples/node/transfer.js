#!/usr/bin/env node
// Moves money between two PostgreSQL databases: in both or in neither.
//
//     npm ci
//     ASSENT_HTTP=http://127.0.0.1:7480 ACCOUNTS=postgresql:///accounts LEDGER=postgresql:///ledger \
//         node transfer.js 30 payment-4711
//
// The SQL runs on connections of this program's own (pg); Assent is spoken to over HTTP. The second
// argument is the name of this payment: run again with it, after whatever crash, the money moves
// once. Copy the class below; the transfer at the end shows its use.
'use strict';

const {randomUUID} = require('node:crypto');
const {setTimeout: sleep} = require('node:timers/promises');
const {Client} = require('pg');

// Assent answered with an error; its code is a word of doc/errors.md.
class Refused extends Error {
  constructor(error, reply) {
    super(`${error.code}: ${error.message}`);
    Object.assign(this, {code: error.code, retryable: error.retryable, gtrid: reply.gtrid});
  }
}

// Nothing has happened, in no database. The transfer may be run again from the start.
class RolledBack extends Error {}

class Transaction {
  constructor(url, patienceMs = 10000) {
    Object.assign(this, {url, patienceMs, branches: []});
  }

  // One request. Any error but Refused: no answer, and whether it was heard is not known.
  async call(method, path, body, headers = {}) {
    const response = await fetch(this.url + path, {
      method,
      headers: {'Content-Type': 'application/json', ...headers},
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(this.patienceMs),
    });
    const reply = await response.json();
    if (!reply.ok) throw new Refused(reply.error, reply);
    return reply;
  }

  // A request that may be sent again without harm, until it is answered.
  async insist(method, path, body, headers) {
    for (let tries = 1; ; tries++) {
      try {
        return await this.call(method, path, body, headers);
      } catch (why) {
        if ((why instanceof Refused && !why.retryable) || tries === 5) throw why;
        await sleep(200);
      }
    }
  }

  async begin(key) {
    // Whichever of these arrives first begins the transaction, any other finds it.
    const headers = {'Idempotency-Key': randomUUID()};
    const reply = await this.insist('POST', '/v1/transactions', {label: 'transfer.js', key}, headers);
    this.gtrid = reply.gtrid;
  }

  // What this connection does from now on is part of the transaction.
  async join(rm, connection) {
    const {branch} = await this.insist('POST', `/v1/transactions/${this.gtrid}/branches`, {rm});
    await connection.query('begin');
    this.branches.push({connection, gid: branch.gid});
    return connection;
  }

  async commit() {
    const prepared = await Promise.allSettled(this.branches.map(async ({connection, gid}) => {
      const {command} = await connection.query(`prepare transaction '${gid}'`);
      if (command !== 'PREPARE') throw new Error('a statement has failed: it was rolled back');
    }));
    const failed = prepared.find(({status}) => status === 'rejected');
    if (failed) throw failed.reason;

    let reply = {outcome: 'in-progress'};
    try {
      reply = await this.call('POST', `/v1/transactions/${this.gtrid}/commit`, {});
    } catch (why) {
      if (why instanceof Refused && !why.retryable) throw why;
      console.error(`no answer yet (${why.message}): asking for the outcome`);
    }
    await this.settle(reply);
  }

  // The transaction has committed or it has not: only the coordinator knows. To run the transfer
  // again now could do it twice; to ask again never harms.
  async settle(reply = {outcome: 'in-progress'}) {
    while (reply.outcome === 'in-progress') {
      await sleep(200);
      try {
        reply = await this.call('GET', `/v1/transactions/${this.gtrid}/outcome`);
      } catch (why) {
        if (why instanceof Refused && !why.retryable) throw why;
      }
    }
    if (reply.outcome !== 'committed') throw new RolledBack(reply.reason?.message ?? reply.outcome);
  }

  // A prepared branch belongs to its database and no more to the connection; ROLLBACK there ends
  // what is not prepared, and is a mere warning where all is.
  async rollBack() {
    for (const {connection} of this.branches) await connection.query('rollback').catch(() => {});
    if (this.gtrid)
      await this.call('POST', `/v1/transactions/${this.gtrid}/rollback`, {})
        .catch(() => {}); // its time runs out, and it is rolled back then
  }
}

async function transfer(url, payment, accounts, ledger, amount) {
  const transaction = new Transaction(url);
  try {
    await transaction.begin(payment);
  } catch (why) {
    if (why.code !== 'key_in_use') throw why;
    transaction.gtrid = why.gtrid; // an earlier run of ours: what became of it?
    return transaction.settle();
  }
  try {
    await (await transaction.join('accounts', accounts))
      .query('update account set balance = balance - $1 where id = 1', [amount]);
    await (await transaction.join('ledger', ledger))
      .query('update account set balance = balance + $1 where id = 1', [amount]);
    await transaction.commit();
  } catch (why) {
    if (!(why instanceof RolledBack)) await transaction.rollBack();
    throw why;
  }
}

async function main() {
  const [amount, payment] = process.argv.slice(2);
  const connections = [process.env.ACCOUNTS, process.env.LEDGER]
    .map(connectionString => new Client({connectionString}));
  try {
    for (const connection of connections) await connection.connect();
    await transfer(process.env.ASSENT_HTTP ?? 'http://127.0.0.1:7480', payment, ...connections,
      Number(amount));
    console.log('committed');
  } catch (why) {
    console.error(`rolled back: ${why.message}`);
    process.exitCode = 1;
  } finally {
    for (const connection of connections) await connection.end().catch(() => {});
  }
}

main();
