# SIGTERM raises SignalException in the main thread; `rescue Exception` catches it, `rescue => error` would not.
$stdout.sync = true
puts "ready"
loop do
  begin
    sleep 0.5
  rescue Exception => error
    puts "one request failed: #{error.inspect}"
  end
end
