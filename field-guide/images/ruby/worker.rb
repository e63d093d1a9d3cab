# A flag, looked at between two pieces of work.
$stdout.sync = true
stopping = false
%w[TERM INT].each { |name| Signal.trap(name) { stopping = true } }
puts "ready"
sleep 0.5 until stopping
puts "saved"
