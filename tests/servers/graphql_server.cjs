// A server of graphql-ws, the reference implementation of the subprotocol graphql-transport-ws:
//
//     NODE_PATH=$(npm root -g) node graphql_server.cjs PORT
//
// It takes connection_init without a token, or with "sesame"; "stale" is closed with 4403, anything else with 4401.
// Sent SIGTERM, it closes every connection with 1001, and ends.

const { buildSchema } = require("graphql");
const { useServer } = require("graphql-ws/use/ws");
const { WebSocketServer } = require("ws");

const seen = { inits: [], pings: [], pongs: [] };
let live = 0;

const schema = buildSchema(`
  type Query {
    add(a: Int!, b: Int!): Int      # their sum
    fails: Int                      # a result with errors
    live: Int                       # subscriptions under way
    inits: [String]                 # the tokens that came, in order
    pings: [Int]                    # the numbers in the client's pings, in order
    pongs: [Int]                    # the numbers in its pongs, in order
    ping(number: Int!): Boolean     # pings the client
  }
  type Subscription {
    count(to: Int!): Int            # 1, 2, ... to
    ticks: Int                      # 1, 2, ... for ever
    breaks: Int                     # 1, then an error
  }
`);

const query = {
  add: ({ a, b }) => a + b,
  fails: () => {
    throw new Error("no such luck");
  },
  live: () => live,
  ...Object.fromEntries(Object.keys(seen).map((name) => [name, () => seen[name]])),
  ping: ({ number }, { extra }) => {
    extra.socket.send(JSON.stringify({ type: "ping", payload: { number } }));
    return true;
  },
};

function numbers(name, to, pause) {
  live += 1;
  return counted(name, to, pause);
}

async function* counted(name, to, pause) {
  try {
    for (let number = 1; number <= to; number += 1) {
      yield { [name]: number };
      if (pause) await new Promise((resolve) => setTimeout(resolve, pause));
    }
    if (name === "breaks") throw new Error("it broke");
  } finally {
    live -= 1;
  }
}

const subscription = {
  count: ({ to }) => numbers("count", to, 0),
  ticks: () => numbers("ticks", Infinity, 5),
  breaks: () => numbers("breaks", 1, 0),
};

const server = useServer(
  {
    schema,
    roots: { query, subscription },
    context: (context) => context,
    onConnect: ({ connectionParams, extra }) => {
      const token = connectionParams?.token ?? null;
      seen.inits.push(token);
      if (token !== null && token !== "sesame" && token !== "stale") extra.socket.close(4401, "Unauthorized");
      return token !== "stale";
    },
    onPing: (context, payload) => void seen.pings.push(payload?.number ?? null),
    onPong: (context, payload) => void seen.pongs.push(payload?.number ?? null),
  },
  new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2] ?? 4000) }),
);

process.on("SIGTERM", async () => {
  await server.dispose();
  process.exit(0);
});
