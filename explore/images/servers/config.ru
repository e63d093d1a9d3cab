run proc { |env| [200, {'Content-Type' => 'text/plain'}, ["ok\n"]] }
