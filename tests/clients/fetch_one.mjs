// Plain fetch, one request as its user writes it. Reads {url, headers, body} from standard input.
import { readFileSync } from "node:fs";

const { url, headers, body } = JSON.parse(readFileSync(0, "utf8"));
const response = await fetch(url, { method: "POST", headers, body });
console.log(JSON.stringify({ status: response.status, body: await response.text() }));
