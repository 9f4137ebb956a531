# Runs in a guest: what facter finds of Amazon's cloud, as JSON.
require "json"
require "facter"
require "facter/resolvers/ec2"

found = Facter::Resolvers::Ec2
puts JSON.generate(metadata: found.resolve(:metadata), userdata: found.resolve(:userdata))
