// What npm's dotenv reads in a file, as a JSON object: read.js DOTENV FILE.
// It has two parsers; they must agree.
const { deepStrictEqual } = require('node:assert')
const { readFileSync } = require('node:fs')

const dotenv = require(process.argv[2])
const text = readFileSync(process.argv[3], 'utf8')
const values = dotenv.parse(text)
deepStrictEqual(dotenv.parse(text, { fast: true }), values)
process.stdout.write(JSON.stringify(values))
