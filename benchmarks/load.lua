-- For wrk: asks for one of the paths in $LOAD_PATHS at random, POSTing what $LOAD_BODY holds if that is not empty.
local paths = {}
for line in io.lines(os.getenv("LOAD_PATHS")) do paths[#paths + 1] = line end
local body = io.open(os.getenv("LOAD_BODY"), "rb"):read("*a")

if #body > 0 then
   wrk.method = "POST"
   wrk.body = body
   wrk.headers["Content-Type"] = "application/json"
end

function request()
   return wrk.format(nil, paths[math.random(#paths)])
end

function done(summary)
   local e = summary.errors
   local errors = e.connect + e.read + e.write + e.status + e.timeout
   print(string.format('{"requests": %d, "seconds": %f, "errors": %d}', summary.requests, summary.duration / 1e6, errors))
end
