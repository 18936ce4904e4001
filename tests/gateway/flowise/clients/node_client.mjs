// Ask through the npm package of Flowise: node node_client.mjs URL TOKEN all|cut
import sdk from 'flowise-sdk'

const { FlowiseClient } = sdk
const [, , baseUrl, apiKey, mode] = process.argv
const client = new FlowiseClient({ baseUrl, apiKey })

const plain = (chatflowId, question, more = {}) => client.createPrediction({ chatflowId, question, ...more })

async function streamed(chatflowId, question, more = {}, by = client) {
    const found = []
    const events = await by.createPrediction({ chatflowId, question, streaming: true, ...more })
    for await (const event of events) found.push(event)
    return found
}

async function everything() {
    const told = { plain: await plain('poet', 'a poem about nodes', { overrideConfig: { sessionId: 'js' } }) }
    told.second = await streamed('poet', 'and one about edges', { chatId: 'js', overrideConfig: {} })
    const asked = await streamed('approval', 'please do', { chatId: 'human-js' })
    const action = asked.find((event) => event.event === 'action').data
    const humanInput = { type: 'proceed', startNodeId: action.data.nodeId, feedback: '' }
    told.decided = await plain('approval', 'Proceed', { chatId: 'human-js', humanInput })
    told.failed = await streamed('broken', 'x')
    told.unknown = await plain('no-such-flow', 'x')
    told.stranger = await streamed('poet', 'x', {}, new FlowiseClient({ baseUrl, apiKey: 'wrong' }))
    return told
}

// Say when the first token is there, notice that the stream breaks, and ask again when the server is back.
async function cut() {
    let broke = false
    try {
        const events = await client.createPrediction({
            chatflowId: 'poet', question: 'cut in node', streaming: true, chatId: 'cut-js'
        })
        for await (const event of events) if (event.event === 'token') process.stdout.write('token\n')
    } catch {
        broke = true
    }
    for (let n = 0; n < 200; n++) {
        try {
            return { broke, after: await plain('poet', 'after node', { chatId: 'cut-js' }) }
        } catch {
            await new Promise((done) => setTimeout(done, 200))
        }
    }
    return { broke }
}

process.stdout.write(JSON.stringify(await { all: everything, cut }[mode]()))
